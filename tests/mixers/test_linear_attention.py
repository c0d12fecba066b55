"""Linear attention equals its quadratic form and its recurrence; positions do what they may and no more."""

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config, known
from panformer.core.state import size
from panformer.ops.attend import merge_heads, split_heads

WIDTH, HEADS = 16, 2


def _mixer(**options):
    torch.manual_seed(0)
    return config("mixers", {"use": "linear_attention", "heads": HEADS, **options}).build(WIDTH).double()


def _parts(m, x):
    q, k, v = (split_heads(f(x), HEADS) for f in (m.q, m.k, m.v))
    return *m.feature(q, k), v


@pytest.mark.parametrize("feature", known("features"))
@pytest.mark.parametrize("causal", [True, False])
def test_is_normalised_attention(feature, causal):
    m = _mixer(feature=feature, causal=causal)
    x = torch.randn(2, 70, WIDTH, dtype=torch.float64)
    q, k, v = _parts(m, x)
    weight = q @ k.mT
    weight = weight.tril() if causal else weight
    right = m.o(merge_heads(weight / weight.sum(-1, keepdim=True) @ v))
    torch.testing.assert_close(m(x, Layout.dense(2, 70)), right)


def test_is_the_recurrence():
    """Katharopoulos et al. 2020, equations 18 to 20: s += f(k) v', z += f(k), y = f(q) s / f(q) z."""
    m = _mixer(causal=True)
    x = torch.randn(1, 9, WIDTH, dtype=torch.float64)
    q, k, v = _parts(m, x)
    s, z, out = torch.zeros(HEADS, 8, 8, dtype=torch.float64), torch.zeros(HEADS, 8, dtype=torch.float64), []
    for t in range(9):
        s = s + k[0, :, t, :, None] * v[0, :, t, None]
        z = z + k[0, :, t]
        top = (q[0, :, t, None] @ s)[:, 0]
        out.append(top / (q[0, :, t] * z).sum(-1, keepdim=True))
    torch.testing.assert_close(m(x, Layout.dense(1, 9))[0], m.o(torch.stack(out).flatten(1)))


@pytest.mark.parametrize("causal", [True, False])
def test_rotation_turns_the_numerator_alone(causal):
    m = _mixer(causal=causal, position="rope")
    x, at = torch.randn(2, 11, WIDTH, dtype=torch.float64), Layout.dense(2, 11)
    q, k, v = _parts(m, x)
    turned, plain = m.position.rotate(q, at) @ m.position.rotate(k, at).mT, q @ k.mT
    if causal:
        turned, plain = turned.tril(), plain.tril()
    right = m.o(merge_heads(turned @ v / plain.sum(-1, keepdim=True)))
    torch.testing.assert_close(m(x, at), right)
    torch.testing.assert_close(m(x, Layout.dense(2, 11, start=1000)), right)  # only distances count


def test_a_slope_becomes_a_decay():
    m = _mixer(causal=True, position="alibi")
    x, at = torch.randn(2, 11, WIDTH, dtype=torch.float64), Layout.dense(2, 11)
    q, k, v = _parts(m, x)
    weight = (q @ k.mT * m.position.bias().value(at, at).exp()).tril()
    right = m.o(merge_heads(weight @ v / weight.sum(-1, keepdim=True)))
    torch.testing.assert_close(m(x, at), right)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"position": "t5", "causal": True}, "does not separate"),
        ({"position": "hard_alibi", "causal": True}, "does not separate"),
        ({"position": "alibi"}, "causal"),
        ({"position": {"use": "alibi", "two_sided": True}, "causal": True}, "does not separate"),
        ({"position": "learned"}, "kinds it takes: bias, rotate"),
        ({"heads": 3}, "does not divide into 3 heads"),
        ({"feature": "tanh"}, "feature"),
    ],
)
def test_refuses_what_it_cannot_use(options, told):
    with pytest.raises(InputError, match=told):
        _mixer(**options)


def test_state_does_not_grow():
    m = _mixer(causal=True)
    x = torch.randn(1, 50, WIDTH, dtype=torch.float64)
    _, state = m.chunk(x, Layout.dense(1, 50), m.start(1, x))
    assert size(state) == size(m.start(1, x))
