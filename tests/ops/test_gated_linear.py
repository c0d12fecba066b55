"""Channels that fade alone: blocks equal the loop in every batch form, the loop the formula; equal rates are a decay."""

import pytest
import torch
from torch.autograd import gradcheck

from panformer.core.layout import Layout
from panformer.ops.backend import only
from panformer.ops.gated_linear import gated_linear, reference, traced
from panformer.ops.kernels import gated_linear_blocks, room
from panformer.ops.linear_attention import linear_attention

from .batches import BATCHES, MIXED

HEADS, SIZE, VALUE = 2, 3, 4


@pytest.fixture(params=[4, 3, 16, 1], autouse=True)
def block(request, monkeypatch):
    monkeypatch.setattr(gated_linear_blocks, "SIZE", request.param)
    monkeypatch.setattr(room, "ROOM", 1)  # one block at a time


def _inputs(at, seed=0):
    """The last channel of every key forgets all from token to token."""
    rng = torch.Generator().manual_seed(seed)
    q, k, v, f = (
        torch.randn(at.batch, HEADS, at.length, n, generator=rng, dtype=torch.float64)
        for n in (SIZE, SIZE, VALUE, SIZE)
    )
    return [q, k, v, -f.exp() * torch.tensor([0.1, 1.0, 900.0])]


@pytest.mark.parametrize("name", BATCHES)
def test_blocks_are_the_loop(name):
    at, results = BATCHES[name], []
    for backend in ("reference", "blocks"):
        leaves = [z.requires_grad_() for z in _inputs(at)]
        with only(backend, gated_linear):
            y, s = gated_linear(*leaves, at, None)
        results.append([y, s, *torch.autograd.grad(y.sin().sum() + s.cos().sum(), leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_loop_is_the_formula():
    q, k, v, fall = (z[:1, :1] for z in _inputs(BATCHES["dense"]))
    y, last = reference(q, k, v, fall, Layout.dense(1, 10), None)
    s = torch.zeros(VALUE, SIZE, dtype=torch.float64)
    for t in range(10):
        s = s @ torch.diag(fall[0, 0, t].exp()) + torch.outer(v[0, 0, t], k[0, 0, t])
        torch.testing.assert_close(y[0, 0, t], s @ q[0, 0, t])
    torch.testing.assert_close(last[0, 0], s.mT)


@pytest.mark.parametrize("widths", [(10,), (1,) * 10, (3, 5, 2)])
def test_stream_is_whole(widths):
    at, leaves, i, outs = BATCHES["dense"], _inputs(BATCHES["dense"]), 0, []
    whole, last = reference(*leaves, at, None)
    s = torch.zeros(2, HEADS, SIZE, VALUE, dtype=torch.float64)
    for w in widths:
        y, s = gated_linear(*(z[:, :, i : i + w] for z in leaves), at.span(i, i + w), s)
        outs.append(y)
        i += w
    torch.testing.assert_close(torch.cat(outs, 2), whole)
    torch.testing.assert_close(s, last)


def test_gradients_and_none_across_documents():
    leaves = [z.requires_grad_() for z in _inputs(MIXED)]
    assert gradcheck(lambda *z: gated_linear(*z, MIXED, None)[0], leaves, fast_mode=True)
    second = gated_linear(*leaves, MIXED, None)[0][0, :, 2:6].square().sum()
    for g in torch.autograd.grad(second, leaves):
        assert (g[0, :, :2] == 0).all() and (g[0, :, 6:] == 0).all() and (g[1] == 0).all()


def test_equal_rates_are_a_decay_and_traced_is_the_reference():
    at = BATCHES["dense"]
    q, k, v, fall = _inputs(at)
    rate = fall[..., :1]
    down = rate[..., 0].cumsum(-1)
    y, _ = gated_linear(q, k, v, rate.expand_as(k), at, None)
    torch.testing.assert_close(y, linear_attention(q, k, v, at, True, (down, down)))
    for one, other in zip(reference(q, k, v, fall, at, None), traced(q, k, v, fall, at, None), strict=True):
        torch.testing.assert_close(one, other)
