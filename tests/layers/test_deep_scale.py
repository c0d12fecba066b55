"""DeepScaleLM: the sum is its formula, theory has its closed forms and agrees with wide models, sublayers answer with 1."""

import math

import pytest
import torch
from torch import nn

import panformer
from panformer.claims.facts import depth
from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.shared import Shared
from panformer.measure import moments as theory
from panformer.train.deep_scale import deep_scale

LAYER = {"mixer": {"use": "attention", "heads": 4}, "channel": {"use": "mlp", "activation": "relu"}}
SPEC = {"width": 256, "embed": {"use": "tokens", "vocab": 99}, "schedule": [{"repeat": 6, **LAYER}]}


@pytest.mark.parametrize("carries", ["stream", "norm"])
def test_the_sum_keeps_one_share_and_takes_the_other(carries):
    c = config("residuals", {"use": "deep_scale", "share": 0.36, "carries": carries})
    part, at = c.part(c, 6, config("norms", "layer"), 2).double(), Layout.dense(2, 5)
    f, g = (lambda h: torch.tanh(h) * 2), (lambda h: h.square() / 3)
    x = want = 3 * torch.randn(2, 5, 6, dtype=torch.float64)
    for branch, norm in zip((f, g), part.norms):
        seen = norm(want, at)
        want = 0.8 * (want if carries == "stream" else seen) + 0.6 * branch(seen)
    torch.testing.assert_close(part(x, at, [f, g]), want, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError):
        part(x, at, [f])


def test_dropout_hits_what_branches_add():
    c = config("residuals", {"use": "deep_scale", "share": 0.36, "dropout": 0.9})
    part, x = c.part(c, 6, config("norms", "layer"), 1), torch.randn(2, 5, 6)
    at = Layout.dense(2, 5)
    torch.testing.assert_close(part(x, at, [torch.zeros_like]), 0.8 * x)
    assert not torch.equal(part(x, at, [torch.tanh]), part.eval()(x, at, [torch.tanh]))


def test_a_gain_makes_the_map_it_replaces_larger():
    plain, x = nn.Linear(5, 3), torch.randn(4, 5)
    c = config("linears", {"use": "gain", "by": 1.5})
    part = c.part(c, 5, 3, True)
    part.take(plain)
    torch.testing.assert_close(part(x), 1.5 * x @ plain.weight.T + plain.bias)
    wide = c.part(c, 500, 200, False)
    assert theory.gain(wide) == pytest.approx(1.5**2, rel=0.02) and wide.bias is None


@pytest.mark.parametrize("r", [0.0, 0.3, 0.9])
def test_networks_with_relu_have_their_closed_form(r):
    angle = math.acos(r)
    want = (math.sqrt(1 - r * r) + r * (math.pi - angle)) / math.pi
    assert theory.network("relu", r) == pytest.approx((0.5, want), rel=2e-3)
    assert theory.network("relu", r, True) == pytest.approx((0.5, (math.pi - angle) / math.pi), rel=2e-2)
    assert theory.network("identity", r) == pytest.approx((1.0, r), rel=1e-9)


def test_attention_to_many_keys_finds_their_mean_and_to_one_key_that_key():
    many, one = torch.full((5,), 1e9), torch.ones(5)
    assert theory.attention(0.3, 10**9, many) == pytest.approx((0.3, 1.0), rel=1e-6)
    assert theory.attention(1.0, 64, torch.full((5,), 64.0)) == pytest.approx((1.0, 1.0), rel=1e-6)
    assert theory.attention(0.3, 64, one)[0] == pytest.approx(1.0)


@pytest.mark.parametrize("residual", ["pre", {"use": "deep_scale", "share": 0.2}])
def test_theory_agrees_with_a_wide_model_forward_and_backward(residual):
    net = panformer.build({**SPEC, "residual": residual}, seed=0)
    h = depth._gaussian(0, 0.2, torch.zeros(4, 96, 256))
    found, slopes = theory.measure(net, h, Layout.dense(4, 96))
    for a, b in zip(found, theory.predict(net, found[0], 96), strict=True):
        assert a.variance == pytest.approx(b.variance, rel=0.1)
        assert a.correlation == pytest.approx(b.correlation, abs=0.05)
    for a, b in zip(slopes, theory.predict_gradients(net, found[0], 96), strict=True):
        assert a == pytest.approx(b, rel=0.25)  # one draw


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_sublayers_answer_with_variance_one_whatever_the_correlation(activation, causal):
    layer = {**LAYER, "channel": {"use": "mlp", "activation": activation}}
    spec = {**SPEC, "causal": causal, "schedule": [{"repeat": 6, **layer}]}
    net, at = panformer.build(deep_scale(spec, 0.1, 96), seed=0), Layout.dense(8, 96)
    assert net.trunk.each()[0].residual.add == pytest.approx((1 / 6) ** 0.5)
    x = depth._gaussian(0, 0.1, torch.zeros(8, 96, 256))
    plain = panformer.build(spec, seed=0)
    with torch.no_grad():
        for layer, usual in zip(net.trunk.each(), plain.trunk.each(), strict=True):
            seen = layer.residual.norms[0](x, at)
            for name in ("mixer", "channel"):
                assert getattr(layer, name)(seen, at).square().mean() == pytest.approx(1, rel=0.2), name
                assert not 0.8 < getattr(usual, name)(seen, at).square().mean() < 1.2, name
            x = layer(x, at, Shared())


def test_a_start_is_saved_and_loaded_with_the_model(tmp_path):
    net, x = panformer.build(deep_scale(SPEC, 0.1, 16), seed=0), torch.arange(16)[None]
    panformer.save(net, tmp_path / "m")
    with torch.no_grad():
        assert torch.equal(panformer.load(tmp_path / "m")(x), net(x))


def test_what_theory_does_not_know_is_refused():
    with pytest.raises(InputError, match="not of 'glu'"):
        deep_scale({**SPEC, "schedule": [{"repeat": 2, **LAYER, "channel": "glu"}]}, 0.1, 16)
    with pytest.raises(InputError, match="number of layers, 6"):
        deep_scale(SPEC, 0.1, 16, k=6)
    with pytest.raises(InputError, match="residuals pre and deep_scale"):
        theory.predict(panformer.build({**SPEC, "residual": "gru"}), theory.Moments(1.0, 0.1), 16)


def test_equal_pairs_are_counted():
    assert depth.equal_pairs(torch.tensor([[1, 1, 2, 3]])) == pytest.approx(1 / 6)


def test_profiles_compare_like_with_like():
    assert depth.drift(0, "deep_scale", layers=3) < 1.3 < depth.drift(0, "xavier", layers=3)
    assert depth.apart(0, "deep_scale", layers=3) < 0.1
    assert depth.profile(0, "xavier", "norm", 3, False).keys() == {"forward", "backward"}
