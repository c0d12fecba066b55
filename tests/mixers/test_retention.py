"""Retention equals the paper's parallel and recurrent forms."""

import pytest
import torch
from torch.nn import functional as F

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.ops.attend import merge_heads, split_heads

WIDTH, HEADS = 16, 2


def _mixer(**options):
    torch.manual_seed(0)
    return config("mixers", {"use": "retention", "heads": HEADS, **options}).build(WIDTH).double()


@pytest.mark.parametrize("options", [{}, {"position": "rope", "expand": 2}])
def test_is_the_parallel_form(options):
    m = _mixer(**options)
    x, at = torch.randn(2, 70, WIDTH, dtype=torch.float64), Layout.dense(2, 70)
    q, k, v = (split_heads(f(x), HEADS) for f in (m.q, m.k, m.v))
    if m.position is not None:
        q, k = m.position.rotate(q, at), m.position.rotate(k, at)
    lag = torch.arange(70)[:, None] - torch.arange(70)
    gamma = torch.tensor([1 - 2**-5, 1 - 2**-6], dtype=torch.float64)[:, None, None]
    decay = (gamma ** lag.clamp_min(0)).tril()
    y = (q @ k.mT * 8**-0.5 * decay) @ v
    y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(m(x, at), m.o(F.silu(m.g(x)) * merge_heads(y)))


def test_is_the_recurrence():
    m = _mixer()
    x = torch.randn(1, 9, WIDTH, dtype=torch.float64)
    q, k, v = (split_heads(f(x), HEADS)[0] for f in (m.q, m.k, m.v))
    gamma, s, out = torch.tensor([1 - 2**-5, 1 - 2**-6])[:, None, None].double(), 0, []
    for t in range(9):
        s = gamma * s + k[:, t, :, None] * v[:, t, None] * 8**-0.5
        out.append(F.layer_norm((q[:, t, None] @ s)[:, 0], (8,)).flatten())
    torch.testing.assert_close(m(x, Layout.dense(1, 9))[0], m.o(F.silu(m.g(x[0])) * torch.stack(out)))


def test_far_positions_are_exact_in_float32():
    """Distances of a million are taken before rounding to float32."""
    m = _mixer().float()
    x = torch.randn(1, 100, WIDTH)
    torch.testing.assert_close(m(x, Layout.dense(1, 100)), m(x, Layout.dense(1, 100, start=10_000_000)))
    state, outs = m.start(1, x), []
    for i in range(0, 100, 10):
        y, state = m.chunk(x[:, i : i + 10], Layout.dense(1, 10, 10_000_000 + i), state)
        outs.append(y)
    torch.testing.assert_close(torch.cat(outs, 1), m(x, Layout.dense(1, 100)), rtol=1e-4, atol=1e-5)


def test_refuses_a_second_decay():
    with pytest.raises(InputError, match=r"cannot use position 'alibi'.*kinds it takes: rotate"):
        _mixer(position="alibi")
