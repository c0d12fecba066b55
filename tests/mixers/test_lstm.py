"""The LSTM equals its equations, and a ragged stream keeps each row's own state."""

import torch

from panformer.core.layout import Layout
from panformer.core.part import config

WIDTH = 6


def _mixer():
    torch.manual_seed(0)
    return config("mixers", "lstm").build(WIDTH).double()


def test_equals_the_equations():
    m = _mixer()
    x = torch.randn(5, WIDTH, dtype=torch.float64)
    c = m.cell
    h = s = torch.zeros(WIDTH, dtype=torch.float64)
    out = m(x[None], Layout.dense(1, 5))[0]
    for t in range(5):
        i, f, g, o = (c.weight_ih_l0 @ x[t] + c.bias_ih_l0 + c.weight_hh_l0 @ h + c.bias_hh_l0).chunk(4)
        s = f.sigmoid() * s + i.sigmoid() * g.tanh()
        h = o.sigmoid() * s.tanh()
        torch.testing.assert_close(out[t], h)


def test_forget_gate_starts_open():
    c = _mixer().cell
    bias = (c.bias_ih_l0 + c.bias_hh_l0).unflatten(0, (4, WIDTH)).detach()
    assert (bias[1] == 1).all() and (bias[[0, 2, 3]] == 0).all()


def test_rows_without_a_token_keep_their_state():
    m = _mixer()
    at = Layout(torch.tensor([[0, -1, 0], [-1, -1, -1]]), torch.zeros(2, 3, 1).long())
    x, h, c = (torch.randn(2, *shape, WIDTH, dtype=torch.float64) for shape in ((3,), (), ()))
    state = (h, c)
    x[~at.valid] = torch.nan
    y, now = m.chunk(x, at, state)
    right, last = m.chunk(x[:1, [0, 2]], Layout.dense(1, 2), tuple(s[:1] for s in state))
    torch.testing.assert_close(y[:1, [0, 2]], right)
    assert y.isfinite().all()
    for s, before, after in zip(now, state, last, strict=True):
        assert torch.equal(s[1], before[1])
        torch.testing.assert_close(s[:1], after)
    empty = Layout(torch.full((2, 3), -1), torch.zeros(2, 3, 1).long())
    _, same = m.chunk(x, empty, now)
    assert all(torch.equal(a, b) for a, b in zip(now, same, strict=True))
