"""Linear attention under a bias of distance: its formula, its limit, and what it refuses."""

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.ops.attend import merge_heads, split_heads

WIDTH, HEADS = 16, 2
T5 = {"use": "t5", "buckets": 8, "reach": 12}


def _mixer(use="toeplitz_attention", **options):
    torch.manual_seed(0)
    part = config("mixers", {"use": use, "heads": HEADS, **options}).build(WIDTH).double()
    if part.position is not None:
        for p in part.position.parameters():
            torch.nn.init.normal_(p)
    return part


def _x(length=37):
    return torch.randn(2, length, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("position", [T5, "kerple", "alibi"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("length", [None, 1.0])
def test_is_attention_with_the_bias_in_its_exponent(position, causal, length):
    m, x, at = _mixer(position=position, causal=causal, length=length), _x(), Layout.dense(2, 37)
    q, k, v = (split_heads(f(x), HEADS) for f in (m.q, m.k, m.v))
    if length:
        q, k = (z / z.norm(dim=-1, keepdim=True) for z in (q, k))
    q, k = m.feature(q, k)
    weight = q @ k.mT * m.position.bias().value(at, at).exp()
    weight = weight.tril() if causal else weight
    right = m.o(merge_heads(weight / weight.sum(-1, keepdim=True) @ v))
    torch.testing.assert_close(m(x, at), right, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
def test_without_a_bias_it_is_linear_attention(causal):
    m, plain = _mixer(causal=causal), _mixer("linear_attention", causal=causal, feature="random")
    plain.load_state_dict(m.state_dict())
    x, at = _x(), Layout.packed([30, 7])
    x = x[:1]
    torch.testing.assert_close(m(x, at), plain(x, at), rtol=1e-10, atol=1e-12)


def test_a_slope_is_the_decay_of_linear_attention():
    m, plain = (
        _mixer(u, causal=True, feature="elu", position="alibi") for u in ("toeplitz_attention", "linear_attention")
    )
    plain.load_state_dict(m.state_dict())
    torch.testing.assert_close(m(_x(), Layout.dense(2, 37)), plain(_x(), Layout.dense(2, 37)), rtol=1e-10, atol=1e-12)


def test_a_bias_of_any_size_cancels():
    m, x, at = _mixer(position=T5), _x(), Layout.dense(2, 37)
    before = m(x, at)
    with torch.no_grad():
        m.position.table += 1000
    torch.testing.assert_close(m(x, at), before)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"position": "fire"}, "more than the distance"),
        ({"position": "rope"}, "kinds it takes: bias"),
        ({"heads": 3}, "does not divide into 3 heads"),
    ],
)
def test_refuses_what_it_cannot_use(options, told):
    with pytest.raises(InputError, match=told):
        _mixer(**options)
