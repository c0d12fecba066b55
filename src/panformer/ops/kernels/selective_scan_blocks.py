"""selective_scan in blocks of time that stay near the processor; the backward pass computes a block's states again.

Only the states between blocks are kept, so memory grows as tokens * channels, as in the paper's fused
kernel. Inside a block one multiply-add a token moves the state; everything else is done for the block at
once. States lie as (T, B, N, E): channels last keep inner loops long.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..backend import Kernel
from . import selective_scan_tree

CACHE = 1 << 18  # numbers a block may hold: with fewer, calls cost more than what they compute
LOG2E = math.log2(math.e)
SHORTEST = 8  # tokens; shorter blocks would keep more states than the layer keeps activations


def refuses(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, reset: Tensor | None, h: Tensor | None
) -> str | None:
    if x.shape[1] == 1:
        return "one token: the formula itself is fastest"
    if torch.compiler.is_compiling():
        return "a loop over time would be unrolled by the compiler"
    return None


def run(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, reset: Tensor | None, h: Tensor | None
) -> tuple[Tensor, Tensor]:
    if h is None:
        h = x.new_zeros(x.shape[0], *a.shape, dtype=torch.promote_types(x.dtype, torch.float32))
    with torch.autocast(x.device.type, enabled=False):
        return _Blocks.apply(x, delta, a, b, c, reset, h)


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x, delta, a, b, c, reset, h):
        inner = _Inner(x, delta, a, b, c, reset)
        states = inner.a.new_empty(len(inner.cuts) + 1, *h.mT.shape)  # that enter each block, and the last
        states[0] = h.mT
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        for i, cut in enumerate(inner.cuts):
            _, path = inner.block(cut, states[i], inner.tokens(x, cut), inner.tokens(delta, cut))
            _put(y, cut, _read(_at(inner.c, cut), path))
            states[i + 1] = path[-1]
        ctx.save_for_backward(x, delta, a, b, c, h, states)
        ctx.reset = reset
        return y, states[-1].mT.contiguous()

    @staticmethod
    def backward(ctx: Any, dy, dh):
        if torch.is_grad_enabled():  # a second derivative is wanted: differentiate the plain form
            return again(ctx.saved_tensors[:6], ctx.reset, dy, dh)
        x, delta, a, b, c, h, states = ctx.saved_tensors
        out = _Gradients(_Inner(x, delta, a, b, c, ctx.reset), x, delta, dy)
        carry = dh.to(states.dtype).mT
        for i in range(len(states) - 2, -1, -1):
            carry = out.block(out.inner.cuts[i], states[i], carry)
        da, db, dc = out.a.mT.to(a.dtype), _weights_outside(out.b, b), _weights_outside(out.c, c)
        return out.x, out.delta, da, db, dc, None, carry.mT.to(h.dtype)


class _Room:
    """Space for one number per token of a block and state, used by every block in turn: new memory is never near."""

    def __init__(self, *shape: int, like: Tensor) -> None:
        self.all = like.new_empty(shape)
        self.each = self.all.unbind(0)


class _Inner:
    """The inputs as the loop wants them: wide, time first, channels last."""

    def __init__(self, x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, reset: Tensor | None) -> None:
        self.wide = torch.promote_types(x.dtype, torch.float32)
        self.a = a.to(self.wide).mT.contiguous()  # (N, E)
        self.halvings = self.a * LOG2E  # torch's exp2 takes a quarter of the time of its exp
        self.b, self.c = self.weights(b), self.weights(c)  # (T, B, N, 1) or (1, 1, N, E)
        self.reset = None if reset is None else reset.t()[..., None, None]
        batch, length, _ = x.shape
        step = min(max(SHORTEST, CACHE // (batch * a.numel())), length)
        self.cuts = [slice(i, min(i + step, length)) for i in range(0, length, step)]
        self.shape = step, batch, *self.a.shape
        self.gain, self.path = (_Room(*self.shape, like=self.a) for _ in range(2))

    def tokens(self, x: Tensor, cut: slice) -> Tensor:
        """(B, T, E) -> (L, B, 1, E)."""
        return x[:, cut].transpose(0, 1).to(self.wide).contiguous()[:, :, None]

    def weights(self, w: Tensor) -> Tensor:
        w = w.to(self.wide)
        return w.mT.contiguous()[None, None] if w.dim() == 2 else w.transpose(0, 1).contiguous()[..., None]

    def block(self, cut: slice, state: Tensor, x: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        """(gains, states), each (L, B, N, E), good until the next block."""
        gain, path = self.gain.all[: len(x)], self.path.all[: len(x)]
        torch.mul(delta, self.halvings, out=gain).exp2_()
        if self.reset is not None:
            gain.masked_fill_(self.reset[cut], 0)
        torch.mul(_at(self.b, cut), delta * x, out=path)
        for g, h in zip(self.gain.each[: len(x)], self.path.each, strict=False):
            state = h.addcmul_(g, state)
        return gain, path


class _Gradients:
    """Gradients of x and delta as they came, of the rest as `_Inner` has them, filled block by block, last block first."""

    def __init__(self, inner: _Inner, x: Tensor, delta: Tensor, dy: Tensor) -> None:
        self.inner, self.given = inner, (x, delta, dy)
        self.x, self.delta = (torch.empty_like(z, memory_format=torch.contiguous_format) for z in (x, delta))
        self.a, self.b, self.c = (torch.zeros_like(w) for w in (inner.a, inner.b, inner.c))
        self.room = _Room(*inner.shape, like=inner.a)

    def block(self, cut: slice, state: Tensor, carry: Tensor) -> Tensor:
        """`carry` (B, N, E): the gradient of the block's last state, from later blocks -> that of `state`."""
        one = self.inner
        x, delta, dy = (one.tokens(z, cut) for z in self.given)
        b, c = _at(one.b, cut), _at(one.c, cut)
        gain, path = one.block(cut, state, x, delta)
        g = torch.mul(dy, c, out=self.room.all[: len(x)])
        gains, gs = one.gain.each, self.room.each
        gs[len(x) - 1].add_(carry)
        for i in range(len(x) - 2, -1, -1):
            gs[i].addcmul_(gains[i + 1], gs[i + 1])
        carry = gains[0] * gs[0]
        _at(self.c, cut).add_(_weigh(path, dy, c))
        _at(self.b, cut).add_(_weigh(g, delta * x, b))
        from_input = _read(b, g)
        g.mul_(gain)  # from here on: the gradient of delta * A
        g[1:].mul_(path[:-1])
        g[0].mul_(state)
        _put(self.x, cut, from_input * delta)
        _put(self.delta, cut, torch.mul(g, one.a, out=gain).sum(-2, keepdim=True).addcmul_(from_input, x))
        self.a += g.mul_(delta).sum((0, 1))
        return carry


def _put(out: Tensor, cut: slice, x: Tensor) -> None:
    """(L, B, 1, E) into (B, T, E)."""
    out[:, cut] = x[:, :, 0].transpose(0, 1)


def _at(w: Tensor, cut: slice) -> Tensor:
    return w if w.shape[0] == 1 else w[cut]


def _read(w: Tensor, states: Tensor) -> Tensor:
    """sum_n w_n h_n: (L, B, N, 1) or (1, 1, N, E), (L, B, N, E) -> (L, B, 1, E)."""
    return w.mT @ states if w.shape[-1] == 1 else (w * states).sum(-2, keepdim=True)


def _weigh(states: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """The gradient of `_read` for w: states * v, summed over what w shares."""
    per_token = w.shape[-1] == 1 and w.shape[:2] == states.shape[:2]
    return states @ v.mT if per_token else (states * v).sum((0, 1), keepdim=True)


def _weights_outside(w: Tensor, like: Tensor) -> Tensor:
    return (w[0, 0].mT if like.dim() == 2 else w[..., 0].transpose(0, 1)).to(like.dtype)


def again(inputs: tuple[Tensor, ...], reset: Tensor | None, dy: Tensor, dh: Tensor) -> tuple[Tensor | None, ...]:
    """The backward pass in plain operations, which can be differentiated. inputs: x, delta, a, b, c, h."""
    x, delta, a, b, c, h = inputs
    out = selective_scan_tree.run(x, delta, a, b, c, reset, h)
    learned = [z for z in inputs if z.requires_grad]
    grads = iter(torch.autograd.grad(out, learned, (dy, dh), create_graph=True))
    parts = [next(grads) if z.requires_grad else None for z in inputs]
    return (*parts[:5], None, parts[5])


BLOCKS = Kernel("blocks", refuses, run)
