"""Residual parts are their formulas, written out for two branches."""

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config, known
from panformer.model.build import build as model

WIDTH, AT = 6, Layout.dense(2, 5)
BRANCHES = [lambda h: torch.tanh(h) * 2, lambda h: h.square() / 3]


def build(use, **options):
    c = config("residuals", {"use": use, **options})
    part = c.part(c, WIDTH, config("norms", "layer"), 2).double()
    with torch.no_grad():
        for p in part.parameters():
            p.normal_()
    return part


def by_hand(use, part, x):
    f, g = BRANCHES
    norms = [lambda h, n=n: n(h, AT) for n in part.norms]
    if use == "post":
        x = norms[0](x + f(x))
        return norms[1](x + g(x))
    if use == "pre":
        x = x + f(norms[0](x))
        return x + g(norms[1](x))
    if use == "two_hop":
        return x + g(norms[1](x + f(norms[0](x))))
    if use == "scale":
        x = x + part.gamma[0] * f(norms[0](x))
        return x + part.gamma[1] * g(norms[1](x))
    if use == "sandwich":
        x = x + part.after[0](f(norms[0](x)), AT)
        return x + part.after[1](g(norms[1](x)), AT)
    return x + f(norms[0](x)) + g(norms[-1](x))


@pytest.mark.parametrize(
    ("use", "options", "norms", "final"),
    [
        ("post", {}, 2, False),
        ("pre", {}, 2, True),
        ("two_hop", {}, 2, True),
        ("scale", {}, 2, True),
        ("sandwich", {}, 2, True),
        ("parallel", {}, 1, True),
        ("parallel", {"norms": "each"}, 2, True),
    ],
)
def test_residual_is_its_formula(use, options, norms, final):
    part, x = build(use, **options), torch.randn(2, 5, WIDTH, dtype=torch.float64)
    torch.testing.assert_close(part(x, AT, BRANCHES), by_hand(use, part, x), rtol=1e-12, atol=1e-12)
    assert len(part.norms) == norms
    assert part.final is final


@pytest.mark.parametrize("use", ["post", "pre", "scale", "sandwich", "parallel", "two_hop"])
def test_dropout_hits_only_what_branches_add_and_only_in_training(use):
    part = build(use, dropout=0.9)
    x = torch.randn(2, 5, WIDTH, dtype=torch.float64)
    still = part.eval()(x, AT, BRANCHES)
    assert torch.equal(still, build_like(part, use)(x, AT, BRANCHES))
    assert not torch.equal(part.train()(x, AT, BRANCHES), still)
    if use not in ("post", "sandwich"):  # whose last norm adds its bias
        silent = [torch.zeros_like] * 2
        assert torch.equal(part(x, AT, silent), x)


def build_like(part, use):
    twin = build(use)
    twin.load_state_dict(part.state_dict())
    return twin.eval()


def test_scale_starts_near_the_identity():
    c = config("residuals", {"use": "scale", "init": 1e-3})
    part = c.part(c, WIDTH, config("norms", "layer"), 2)
    assert [g.tolist() for g in part.gamma] == [[pytest.approx(1e-3)] * WIDTH] * 2


@pytest.mark.parametrize("use", ["post", "pre", "scale", "sandwich", "parallel", "two_hop"])
def test_a_branch_too_many_is_not_dropped_silently(use):
    with pytest.raises((InputError, ValueError)):
        build(use)(torch.randn(2, 5, WIDTH, dtype=torch.float64), AT, BRANCHES[:1])


def test_two_hop_has_another_norm_for_later_branches():
    part = build("two_hop", later="rms")
    assert [n.use() for n in part.norms] == ["layer", "rms"]


@pytest.mark.parametrize("use", known("residuals"))
def test_norms_that_keep_a_state_stream_through_every_residual(use):
    tree = {"width": 8, "causal": True, "norm": "timestep", "residual": use, "embed": {"use": "tokens", "vocab": 11}}
    layer = {"mixer": {"use": "linear_attention", "heads": 2}, "channel": "mlp"}
    net = model({**tree, "schedule": [{"repeat": 2, **layer}]}, seed=0).double().eval()
    x, stream, outs = torch.randint(11, (2, 9)), net.start(2), []
    for a, b in ((0, 4), (4, 5), (5, 9)):
        y, stream = net.chunk(x[:, a:b], stream)
        outs.append(y)
    torch.testing.assert_close(torch.cat(outs, 1), net(x))
