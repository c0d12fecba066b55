"""Maps, activations and experts that models are trained with: their limit cases, and how a grown model goes on."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import panformer
from panformer.claims.facts import layers
from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.shared import Shared
from panformer.linears.parameter_attention import ParameterAttention
from panformer.ops import backend, product_keys

AT = Layout.dense(2, 5)
SPEC = {
    "width": 16,
    "causal": True,
    "embed": {"use": "tokens", "vocab": 20},
    "schedule": [{"repeat": 2, "mixer": {"use": "attention", "heads": 2}, "channel": "mlp"}],
    "head": {"use": "lm", "vocab": 20},
}


def stand(use, **options):
    return {**SPEC, "linears": [{"where": "trunk.*", "use": {"use": use, **options}}]}


@pytest.mark.parametrize(
    ("fact", "options", "broken"),
    [
        ("largest_gain", {}, {"use": "plain"}),
        ("tight", {}, {"peak": False}),
        ("best_pairs", {}, {"among": 2}),
        ("corner_share", {}, {"slope": 0.5}),
        ("becomes_relu", {}, {"square": 0.1}),
    ],
)
def test_limit_cases(fact, options, broken):
    got, want = getattr(layers, fact)(3, **options)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    got, want = getattr(layers, fact)(3, **broken)
    assert (got - want).abs().max() > 1e-3, "the limit case cannot fail"


def test_no_scores_have_less_entropy_than_the_bound():
    assert layers.entropy_over_bound(0) > -1e-9
    assert layers.entropy_over_bound(0, share=0.5) < -1e-3


@pytest.mark.parametrize("gain", [None, 1.7])
def test_a_spectral_map_keeps_the_function_or_gets_the_gain(gain):
    torch.manual_seed(0)
    plain, x = nn.Linear(6, 9).double(), torch.randn(4, 6, dtype=torch.float64)
    c = config("linears", {"use": "spectral", "gain": gain})
    part = c.part(c, 6, 9, True).double()
    part.take(plain)
    if gain is None:
        part.eval()
    with torch.no_grad():
        for _ in range(500):
            part(x)
    scale = 1 if gain is None else gain / torch.linalg.matrix_norm(plain.weight, 2)
    torch.testing.assert_close(part(x), scale * x @ plain.weight.T + plain.bias, rtol=1e-6, atol=1e-6)
    part.eval()
    before = {k: v.clone() for k, v in part.state_dict().items()}
    part(x)
    assert all(torch.equal(v, before[k]) for k, v in part.state_dict().items()), "evaluation changed what it reads"


@pytest.mark.parametrize(
    "use", [{"use": "spectral"}, {"use": "parameter_attention", "tokens": 9}, {"use": "hashed_tables", "bits": 4}]
)
def test_models_of_learned_maps_train_and_are_saved(use, tmp_path):
    model = panformer.build({**SPEC, "linears": [{"where": "trunk.*", "use": use}]}, seed=0)
    x = torch.randint(0, 20, (2, 11))
    model(x).logsumexp(-1).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    panformer.save(model.eval(), tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(panformer.load(tmp_path / "model")(x), model(x))


def test_parameter_attention_is_the_formula():
    c = config("linears", {"use": "parameter_attention", "tokens": 7, "tau": 2.0})
    part, x = c.part(c, 4, 3, False).double(), torch.randn(5, 4, dtype=torch.float64)
    a = x @ part.keys.T
    weight = nn.functional.gelu(2.0 * a / a.square().sum(-1, keepdim=True).sqrt())
    torch.testing.assert_close(part(x), weight @ part.values)


def test_a_model_grows_without_a_change():
    model = panformer.build(stand("parameter_attention", tokens=6), seed=0).double().eval()
    x = torch.randint(0, 20, (2, 11))
    large = panformer.grow(model, 3)
    assert large.spec.linears[0].use.tokens == 18
    torch.testing.assert_close(large(x), model(x), rtol=1e-12, atol=1e-12)
    again = panformer.grow(large, 2)
    torch.testing.assert_close(again(x), model(x), rtol=1e-12, atol=1e-12)
    assert (panformer.grow(model, 3, hold=False)(x) - model(x)).abs().max() > 1e-4
    large.train()(x).logsumexp(-1).sum().backward()
    new = [m.keys.grad[6:] for m in large.modules() if isinstance(m, ParameterAttention)]
    assert all(g.abs().max() > 0 for g in new), "new keys do not learn"


def test_what_cannot_grow_is_refused():
    with pytest.raises(InputError, match="grow: needs linears of parameter_attention"):
        panformer.grow(panformer.build(SPEC, seed=0), 2)
    with pytest.raises(InputError, match="grow: needs linears of parameter_attention"):
        panformer.grow(panformer.build(stand("parameter_attention", tokens=6, weigh="softmax"), seed=0), 2)
    with pytest.raises(InputError, match="16 inputs do not divide into chunks of 5"):
        panformer.build(stand("hashed_tables", bits=5))
    with pytest.raises(InputError, match="top 10 is more than 3 x 3 experts"):
        config("channels", {"use": "product_key_experts", "side": 3, "top": 10}).build(8)


def test_hashed_tables_add_the_rows_that_the_signs_name():
    c = config("linears", {"use": "hashed_tables", "bits": 2})
    part, x = c.part(c, 4, 3, True).double(), torch.tensor([[1.0, -2.0, 0.5, 3.0]], dtype=torch.float64)
    s = torch.sigmoid(2 * x.abs()[0])
    want = s[0] * s[1] * part.tables[0b01] + s[2] * s[3] * part.tables[4 + 0b11] + part.bias
    torch.testing.assert_close(part(x)[0], want)


def test_product_key_experts_are_the_sum_over_all_experts():
    c = config("channels", {"use": "product_key_experts", "side": 4, "heads": 2, "top": 3, "key": 5})
    part, x = c.build(6).double(), torch.randn(2, 5, 6, dtype=torch.float64)
    q = part.query(x).unflatten(-1, (2, 2, 5))
    left, right = (torch.einsum("bthk,hnk->bthn", q[..., s, :], part.keys[:, s]) for s in (0, 1))
    score = (left[..., :, None] + right[..., None, :]).flatten(-2)
    weight = score.masked_fill(score < score.topk(3).values[..., -1:], -torch.inf).softmax(-1)
    hidden = nn.functional.gelu(x @ part.up.T)
    torch.testing.assert_close(part(x, AT), (weight.sum(2) * hidden) @ part.down)


def test_experts_of_padding_are_not_counted():
    part = config("channels", {"use": "product_key_experts", "side": 4, "heads": 2, "top": 3, "key": 5}).build(6)
    shared = Shared()
    part(torch.randn(2, 5, 6), Layout.padded([5, 2]), shared)
    assert int(shared.stats["expert_load"].sum()) == 7 * 2 * 3


def test_the_best_pairs_are_those_of_the_reference_with_gradients():
    left, right = torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True).unbind(0)
    for top in (1, 5, 8, 30, 64):
        want, at = product_keys.reference(left, right, top)
        with backend.only("halves"):
            got, found = product_keys.product_top(left, right, top)
        torch.testing.assert_close(got, want)
        assert torch.equal(found, at)
        grads = [torch.autograd.grad(y.cos().sum(), (left, right), retain_graph=True) for y in (got, want)]
        torch.testing.assert_close(*grads)


def test_polynomial_powers_are_normalised_over_the_units():
    part = config("channels", {"use": "polynomial", "of": "norm", "hidden": 9, "order": 2}).build(6).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    h = part.up(x)
    a = part.coefficients
    parts = [h**i / (h**i).square().mean(-1, keepdim=True).sqrt() for i in (1, 2)]
    torch.testing.assert_close(part(x, AT), part.down(a[0] + a[1] * parts[0] + a[2] * parts[1]), rtol=1e-6, atol=1e-6)


def test_gru_gates_are_the_equations():
    c = config("residuals", {"use": "gru", "start": 0.7})
    part = c.part(c, 6, config("norms", "layer"), 1).double()
    x, branch = torch.randn(2, 5, 6, dtype=torch.float64), lambda h: torch.tanh(h) * 2
    y, gate = branch(part.norms[0](x, AT)).relu(), part.gates[0]
    (wr, wz, wg), (ur, uz), ug = gate.new.weight.chunk(3), gate.old.weight.chunk(2), gate.kept.weight
    r, z = torch.sigmoid(y @ wr.T + x @ ur.T), torch.sigmoid(y @ wz.T + x @ uz.T - 0.7)
    h = torch.tanh(y @ wg.T + (r * x) @ ug.T)
    torch.testing.assert_close(part(x, AT, [branch]), (1 - z) * x + z * h)


def test_averages_over_depth_are_the_formula_in_pieces_too():
    tree = {**SPEC, "schedule": [{"repeat": 4, "mixer": {"use": "attention", "heads": 2}, "channel": "mlp"}]}
    for options in ({}, {"dilation": 2}, {"dilation": 3, "period": 2}):
        model = panformer.build({**tree, "depth": {"use": "weighted_average", **options}}, seed=0).double().eval()
        x = torch.randint(0, 20, (2, 9))
        with torch.no_grad():
            for alpha in model.trunk.depth.parameters():
                alpha.normal_()
            h, at = model.embed(x)
            history = [h]
            for i, layer in enumerate(model.trunk.each(), 1):
                history.append(layer(h, at, Shared()))
                h = history[-1]
                if i % options.get("period", 1) == 0:
                    alpha = model.trunk.depth.alpha[str(i)]
                    seen = history[:: -options.get("dilation", 1)][::-1]
                    h = sum(a * past for a, past in zip(alpha, seen, strict=True))
            want = model.trunk.final(h, at)
            torch.testing.assert_close(model.hidden(x)[0], want)
            pieces, stream = [], model.start(2)
            for a, b in ((0, 4), (4, 5), (5, 9)):
                out, stream = model.chunk(x[:, a:b], stream)
                pieces.append(out)
            torch.testing.assert_close(torch.cat(pieces, 1), model(x))


def test_depth_needs_layers_of_one_width():
    tree = {**SPEC, "causal": False, "depth": "weighted_average"}
    with pytest.raises(InputError, match="depth: all layers must have one width"):
        panformer.build({**tree, "schedule": [*SPEC["schedule"], {"reduce": "stride_pool", "channel": "mlp"}]})
