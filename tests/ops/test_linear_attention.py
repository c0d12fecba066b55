"""Linear attention: blocks equal the quadratic form in every batch form, and streams equal the whole."""

from contextlib import nullcontext

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from panformer.core.layout import Layout
from panformer.core.score import Slope
from panformer.ops.backend import only
from panformer.ops.kernels import linear_attention_blocks
from panformer.ops.linear_attention import (
    linear_attention,
    linear_attention_chunk,
    reference,
    reference_chunk,
)

from .batches import BATCHES, MIXED

HEADS, SIZE, VALUE = 2, 3, 4
LAYOUTS = {**BATCHES, "later": Layout.dense(2, 10, start=500), "one": Layout.dense(2, 1)}
SLOPE = Slope(torch.tensor([0.3, 90.0], dtype=torch.float64))  # the second forgets all within one step


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(linear_attention_blocks, "SIZE", 4)


def _inputs(at, seed=0):
    rng = torch.Generator().manual_seed(seed)
    shape = (at.batch, HEADS, at.length)
    return [torch.randn(*shape, n, generator=rng, dtype=torch.float64) for n in (SIZE, SIZE, VALUE)]


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("decay", [None, SLOPE])
def test_blocks_are_the_matrix(name, decay):
    at = LAYOUTS[name]
    pair = None if decay is None else decay.log_decay(at, at)
    for causal in (True, False) if decay is None else (True,):
        results = []
        for backend in ("reference", "blocks"):
            leaves = [z.requires_grad_() for z in _inputs(at)]
            with only(backend, linear_attention):
                y = at.clean(linear_attention(*leaves, at, causal, pair).transpose(1, 2))
            assert y.isfinite().all()
            results.append([y, *torch.autograd.grad(y.sin().sum(), leaves)])
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("decay", [None, SLOPE])
@pytest.mark.parametrize("widths", [(10,), (1,) * 10, (3, 5, 2)])
@pytest.mark.parametrize("backend", ["reference", None])
def test_stream_is_whole(decay, widths, backend):
    at = LAYOUTS["later"]
    q, k, v = _inputs(at)
    whole = reference(q, k, v, at, True, None if decay is None else decay.log_decay(at, at))
    state, outs, i = (q.new_zeros(2, HEADS, SIZE, VALUE), q.new_zeros(2, HEADS)), [], 0
    for w in widths:
        span = slice(i, i + w)
        here = at.span(i, i + w)
        pair = None if decay is None else decay.log_decay(here, here)
        with only(backend, linear_attention_chunk) if backend else nullcontext():
            y, state = linear_attention_chunk(q[:, :, span], k[:, :, span], v[:, :, span], here, pair, state)
        outs.append(y)
        i += w
    torch.testing.assert_close(torch.cat(outs, 2), whole)


@pytest.mark.parametrize("decay", [None, SLOPE])
def test_ragged_chunk_blocks_are_the_reference(decay):
    """Padding anywhere, a row without a token, and a state from before."""
    seg = torch.tensor([[0, -1, 0, 0, -1, 0, 0, 0, 0], [-1] * 9, [-1, -1, -1, -1, 0, 0, 0, -1, -1]])
    pos = 700 + torch.where(seg >= 0, (seg >= 0).long().cumsum(1), -700)
    at = Layout(seg, pos[..., None])
    pair = None if decay is None else decay.log_decay(at, at)
    q, k, v = (z.requires_grad_() for z in _inputs(at))
    state = (torch.randn(3, HEADS, SIZE, VALUE, dtype=torch.float64).requires_grad_(), torch.zeros(3, HEADS).double())
    if decay is not None:
        state = (state[0], -700 * decay.slope.expand(3, HEADS))
    results = []
    for run in (reference_chunk, linear_attention_chunk):
        y, (s, r) = run(q, k, v, at, pair, state)
        y = at.clean(y.transpose(1, 2))
        assert y.isfinite().all() and s.isfinite().all()
        grads = torch.autograd.grad(y.sin().sum() + s.cos().sum(), [q, k, v, state[0]])
        results.append([y, s, r, *grads])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(results[1][1][1], state[0][1].detach())  # nothing new: nothing changed


@pytest.mark.parametrize("decay", [None, SLOPE])
def test_gradients_twice_and_none_across_documents(decay):
    at = MIXED
    pair = None if decay is None else decay.log_decay(at, at)
    leaves = [z.requires_grad_() for z in _inputs(at)]

    def run(*z):
        return at.clean(linear_attention(*z, at, True, pair).transpose(1, 2))

    assert gradcheck(run, leaves, fast_mode=True)
    assert gradgradcheck(run, leaves, fast_mode=True)
    second = run(*leaves)[0, 2:6].square().sum()
    for g in torch.autograd.grad(second, leaves[1:]):
        assert (g[0, :, :2] == 0).all() and (g[0, :, 6:] == 0).all() and (g[1] == 0).all()


def test_it_is_the_recurrence():
    at = LAYOUTS["dense"]
    q, k, v = _inputs(at)
    gamma = torch.exp(-SLOPE.slope)[:, None, None]
    out = linear_attention(q, k, v, at, True, SLOPE.log_decay(at, at))
    s = torch.zeros(2, HEADS, SIZE, VALUE, dtype=torch.float64)
    for t in range(10):
        s = gamma * s + k[:, :, t, :, None] * v[:, :, t, None]
        torch.testing.assert_close(out[:, :, t], (q[:, :, t, None] @ s)[:, :, 0])


@pytest.mark.parametrize("size", [1, 3, 8, 24])
@pytest.mark.parametrize("begun", [False, True])
def test_it_is_the_state_space_dual_in_blocks(size, begun):
    """Dao & Gu 2024, listing 1, in four steps: diagonal blocks, what each block leaves, states from block to block by a
    matrix of sums over segments of blocks, and what each state answers."""
    length = 24
    rng = torch.Generator().manual_seed(0)
    c, b = (torch.randn(2, HEADS, length, SIZE, generator=rng, dtype=torch.float64) for _ in range(2))
    x = torch.randn(2, HEADS, length, VALUE, generator=rng, dtype=torch.float64)
    a = -torch.rand(2, HEADS, length, generator=rng, dtype=torch.float64).exp()
    start = torch.randn(2, HEADS, SIZE, VALUE, generator=rng, dtype=torch.float64) * begun

    def segments(a):
        """(..., n) -> (..., n, n): a_{j+1} + .. + a_i for j <= i, else -inf."""
        n = a.shape[-1]
        rows = torch.ones(n, n, dtype=torch.bool)
        told = a[..., :, None].expand(*a.shape, n).masked_fill(~rows.tril(-1), 0).cumsum(-2)
        return told.masked_fill(~rows.tril(), -torch.inf)

    cs, bs, xs, cuts = (z.unflatten(2, (-1, size)) for z in (c, b, x, a))
    sums = cuts.cumsum(-1)
    inside = torch.einsum("bhnle,bhnse,bhnls,bhnsv->bhnlv", cs, bs, segments(cuts).exp(), xs)
    left = torch.einsum("bhnle,bhnl,bhnlv->bhnev", bs, (sums[..., -1:] - sums).exp(), xs)
    between = segments(torch.nn.functional.pad(sums[..., -1], (1, 0))).exp()
    states = torch.einsum("bhzn,bhnev->bhzev", between, torch.cat([start[:, :, None], left], 2))
    entered = torch.einsum("bhnle,bhnev,bhnl->bhnlv", cs, states[:, :, :-1], sums.exp())
    want, last = (inside + entered).flatten(2, 3), states[:, :, -1]

    at, down = Layout.dense(2, length), a.cumsum(-1)
    y, (s, _) = linear_attention_chunk(c, b, x, at, (down, down), (start, down.new_zeros(2, HEADS)))
    torch.testing.assert_close(y, want)
    torch.testing.assert_close(s, last)
    if not begun:
        torch.testing.assert_close(linear_attention(c, b, x, at, True, (down, down)), want)


@pytest.mark.parametrize("backend", ["reference", None])
@pytest.mark.parametrize("decay", [None, SLOPE])
def test_queries_and_keys_may_be_of_one_head_for_all(decay, backend):
    at = MIXED
    pair = None if decay is None else decay.log_decay(at, at)
    results = []
    for shared in (False, True):
        q, k, v = (z.requires_grad_() for z in _inputs(at))
        one, two = (z[:, :1] if shared else z[:, :1].expand(-1, HEADS, -1, -1).contiguous() for z in (q, k))
        with only(backend, linear_attention) if backend else nullcontext():
            y = at.clean(linear_attention(one, two, v, at, True, pair).transpose(1, 2))
        results.append([y, *torch.autograd.grad(y.sin().sum(), [q, k, v])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("gained", ["nothing", "a head", "a channel"])
def test_sums_carried_one_by_one_are_the_scan(gained, monkeypatch):
    rng = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(2, HEADS, *shape, generator=rng, dtype=torch.float64)

    gain = {"nothing": None, "a head": draw(5, 1, 1), "a channel": draw(5, SIZE, 1)}[gained]
    inputs = [z.requires_grad_() for z in (draw(5, SIZE, VALUE), gain, draw(SIZE, VALUE)) if z is not None]
    results = []
    for compiling in (False, True):  # where the scan serves
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda so=compiling: so)
        found = linear_attention_blocks.carry(inputs[0], gain, inputs[-1])
        results.append([*found, *torch.autograd.grad(sum(z.sin().sum() for z in found), inputs)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
