"""Score terms that depend on the tokens themselves are what their papers say, by another route than their own code."""

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.model.build import build
from panformer.ops import backend
from panformer.positions.alibi import slopes

D = torch.float64


def attention(position, width=16, heads=2, **options):
    torch.manual_seed(0)
    tree = {"use": "attention", "heads": heads, "causal": True, "position": position, **options}
    return config("mixers", tree).build(width).double()


def by_hand(part, x, term):
    """Causal attention of one sequence with a term (H, T, T) added to its logits, pair by pair from the formula."""
    q, k, v = (m(x[0]).unflatten(-1, (-1, part.size)).transpose(0, 1) for m in (part.q, part.k, part.v))
    logits = q @ k.mT * part.scale + term
    late = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    y = logits.masked_fill(late, -torch.inf).softmax(-1) @ v
    return part.o(y.transpose(0, 1).flatten(1))[None]


def forget(gate):
    """log of the product of the gates after each key, up to the query's own. gate (H, T) -> (H, T, T)."""
    heads, length = gate.shape
    out = torch.zeros(heads, length, length, dtype=gate.dtype)
    for i in range(length):
        for j in range(i):
            out[:, i, j] = gate[:, j + 1 : i + 1].log().sum(-1)
    return out


# ---- cable


def test_cable_is_a_forget_gate():
    part, x = attention("cable"), torch.randn(1, 11, 16, dtype=D)
    gate = torch.sigmoid(-part.position.w(x[0])).T
    torch.testing.assert_close(part(x, Layout.dense(1, 11)), by_hand(part, x, forget(gate)), rtol=1e-12, atol=1e-13)


def test_cable_with_equal_steps_is_alibi():
    part, other, x = attention("cable"), attention("alibi"), torch.randn(2, 11, 16, dtype=D)
    m = torch.tensor(slopes(2), dtype=D)
    with torch.no_grad():
        part.position.w.weight.zero_()
        part.position.w.bias.copy_(torch.expm1(m).log())  # softplus of it is m
        want = other(x, Layout.dense(2, 11))
        torch.testing.assert_close(part(x, Layout.dense(2, 11)), want, rtol=0, atol=1e-8)  # slopes are float32
        part.position.w.weight[0, 0] = 0.5
        assert (part(x, Layout.dense(2, 11)) - want).abs().max() > 1e-3


def test_every_layer_has_steps_of_its_own():
    tree = {
        "width": 16, "causal": True, "position": "cable", "embed": {"use": "tokens", "vocab": 9},
        "schedule": [{"repeat": 2, "mixer": {"use": "attention", "heads": 2}}],
    }  # fmt: skip
    one, two = (layer.mixer.position for layer in build(tree, seed=0).trunk.each())
    assert one is not two and not torch.equal(one.w.weight, two.w.weight)


def test_a_term_of_the_tokens_goes_through_no_kernel_that_cuts_them():
    part, at = attention("cable", window=5), Layout.packed([40, 3, 40])
    x = torch.randn(1, 83, 16, dtype=D)
    with backend.record() as used:
        part(x, at)
    assert set(used) == {"attend:sdpa"}


def test_a_pattern_forgets_what_cable_counts():
    with pytest.raises(InputError, match="'cable' counts tokens that a pattern forgets"):
        attention("cable", pattern="strided")
    with pytest.raises(InputError, match="linear_attention"):
        build({
            "width": 16, "causal": True, "position": "cable", "embed": {"use": "tokens", "vocab": 9},
            "schedule": [{"mixer": {"use": "linear_attention", "heads": 2}}],
        })  # fmt: skip
