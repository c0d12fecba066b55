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


# ---- a vector per distance


@pytest.mark.parametrize("two_sided", [False, True])
def test_relative_vectors_are_products_of_every_pair(two_sided):
    position = {"use": "relative_vectors", "reach": 4, "two_sided": two_sided}
    part, x = attention(position, heads=4, kv_heads=2), torch.randn(1, 11, 16, dtype=D)
    q = part.q(x[0]).unflatten(-1, (4, 4)).transpose(0, 1) * part.scale
    term = torch.zeros(4, 11, 11, dtype=D)
    for i in range(11):
        for j in range(i + 1):
            term[:, i, j] = (q[:, i] * part.position.table[:, min(i - j, 4) + 4 * two_sided]).sum(-1)
    for m in (part.k, part.v):
        m.weight.data = m.weight.data.unflatten(0, (2, 4)).repeat_interleave(2, 0).flatten(0, 1)
    want = by_hand(part, x, term)
    for m in (part.k, part.v):
        m.weight.data = m.weight.data.unflatten(0, (4, 4))[::2].flatten(0, 1)
    torch.testing.assert_close(part(x, Layout.dense(1, 11)), want, rtol=1e-12, atol=1e-13)


# ---- places drawn in training


def test_randomised_places_rise_and_every_sequence_draws_its_own():
    inside = {"use": "t5", "buckets": 8, "reach": 9}
    part = attention({"use": "randomised", "inside": inside, "among": 40}).position.train()
    for at in (
        Layout.dense(3, 7),
        Layout.padded([7, 2, 5]),
        Layout.padded([7, 2, 5], side="left"),
        Layout.packed([7, 2, 5]),
    ):
        part.context(None, None, None, at, at)
        (there,) = (v for k, v in at._memo.items() if k[0] == "drawn")
        rows = [there.pos[..., 0][at.ordinal == i].tolist() for i in range(3)]
        assert all(row == sorted(set(row)) and 0 <= row[0] and row[-1] < 40 for row in rows), rows
        assert [len(row) for row in rows] == at.lengths.tolist() and rows[0] != rows[2]
    with pytest.raises(InputError, match="41 tokens cannot draw"):
        part.context(None, None, None, (at := Layout.dense(1, 41)), at)
    with pytest.raises(InputError, match="no bias of distances"):
        attention({"use": "randomised", "inside": "rope", "among": 40})


def test_randomised_places_are_what_they_are_in_reading():
    inside = {"use": "fire", "hidden": 8, "threshold": 6.0}
    part, plain = attention({"use": "randomised", "inside": inside, "among": 40}), attention(inside)
    plain.load_state_dict({k.replace("inside.", ""): v for k, v in part.state_dict().items()})
    x, at = torch.randn(2, 9, 16, dtype=D), Layout.dense(2, 9)
    assert torch.equal(part.eval()(x, at), plain(x, at))
    torch.manual_seed(1)
    one = part.train()(x, at)
    assert torch.equal(one, part(x, at)) and not torch.allclose(one, plain(x, at)), "one draw for all layers"
    assert not torch.allclose(one, part(x, Layout.dense(2, 9))), "another batch, another draw"
    whole = {"use": "randomised", "inside": inside, "among": 9}
    full = attention(whole)
    full.load_state_dict(part.state_dict())
    torch.testing.assert_close(full.train()(x, Layout.dense(2, 9)), plain(x, at))  # nine of nine places


# ---- after the softmax


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"causal": True, "window": 4}])
def test_urpe_multiplies_the_weights(options):
    tree = {"heads": 2, "position": {"use": "urpe", "reach": 3, "inside": {"use": "t5", "buckets": 8, "reach": 9}}}
    torch.manual_seed(0)
    part = config("mixers", {"use": "attention", **tree, **options}).build(16).double()
    torch.nn.init.normal_(part.position.table)
    x, at = torch.randn(1, 23, 16, dtype=D), Layout.dense(1, 23)
    q, k, v = (m(x[0]).unflatten(-1, (2, 8)).transpose(0, 1) for m in (part.q, part.k, part.v))
    apart = torch.arange(23)[:, None] - torch.arange(23)
    hidden = (apart < 0) if options else torch.zeros_like(apart).bool()
    hidden = hidden | (apart.abs() >= options.get("window", 23))
    logits = q @ k.mT * part.scale + part.position.inside.bias().value(at, at)[0]
    factor = part.position.table[apart.clamp(-3, 3) + 3].permute(2, 0, 1)
    y = logits.masked_fill(hidden, -torch.inf).softmax(-1) * factor @ v
    torch.testing.assert_close(part(x, at)[0], part.o(y.transpose(0, 1).flatten(1)), rtol=1e-10, atol=1e-12)


def test_urpe_of_ones_is_what_stands_inside():
    inside = {"use": "rope"}
    part, plain = attention({"use": "urpe", "reach": 5, "inside": inside}), attention(inside)
    plain.load_state_dict({k: v for k, v in part.state_dict().items() if not k.startswith("position")})
    x, at = torch.randn(2, 13, 16, dtype=D), Layout.packed([13, 13])
    torch.testing.assert_close(part(x.view(1, 26, 16), at), plain(x.view(1, 26, 16), at), rtol=1e-12, atol=1e-13)
    with pytest.raises(InputError, match="'learned' cannot stand inside"):
        attention({"use": "urpe", "inside": "learned"})
