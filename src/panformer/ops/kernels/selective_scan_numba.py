"""selective_scan as one compiled loop over time a pass: states stay in nearby memory, and nothing else is ever written.

The forward pass keeps the states between blocks of 32 tokens, the backward pass makes a block's states again and walks
it once, back from its end, for all gradients. Rows and groups of channels are spread over torch's threads; sums over
channels are by group first, so that the answer does not depend on the number of threads. The loops are compiled when
they are first called, which takes some ten seconds a number format, once a machine.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..backend import Kernel
from .numba_here import lacks, unseen
from .selective_scan_blocks import again

LEAST = 1 << 22  # numbers of state over all tokens; blocks need 20 ms for these
SHARES = 4  # of the work a thread takes one after the other: some threads are slower


def refuses(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, reset: Tensor | None, h: Tensor | None
) -> str | None:
    if x.numel() * a.shape[1] < LEAST:
        return f"fewer than {LEAST} numbers of state in all: not worth compiling"
    if x.shape[1] == 1:
        return "one token: the formula itself is fastest"
    if b.dim() == 2 or c.dim() == 2:
        return "the weights do not depend on time"
    return unseen((x, delta, a, b, c, reset, h)) or lacks(x.device, x.dtype)


def run(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, reset: Tensor | None, h: Tensor | None
) -> tuple[Tensor, Tensor]:
    if h is None:
        h = x.new_zeros(x.shape[0], *a.shape, dtype=torch.promote_types(x.dtype, torch.float32))
    given = (x, delta, a, b, c, h)
    if torch.is_grad_enabled() and any(z.requires_grad for z in given):
        return _Scan.apply(x, delta, a, b, c, reset, h)
    y, last, _ = _Loops(x, delta, a, b, c, reset).forward(h, False)
    return y, last


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x, delta, a, b, c, reset, h):
        y, last, ends = _Loops(x, delta, a, b, c, reset).forward(h, True)
        ctx.save_for_backward(x, delta, a, b, c, h, ends)
        ctx.reset = reset
        return y, last

    @staticmethod
    def backward(ctx: Any, dy, dh):
        x, delta, a, b, c, h, ends = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: differentiate the plain form
            return again((x, delta, a, b, c, h), ctx.reset, dy, dh)
        found = _Loops(x, delta, a, b, c, ctx.reset).backward(ends, dy, dh)
        *rest, dh = (g.to(z.dtype) for g, z in zip(found, (x, delta, a, b, c, h), strict=True))
        return (*rest, None, dh)


class _Loops:
    """The inputs as the loops want them, wide and with channels in whole vectors, and the calls of the loops."""

    def __init__(self, x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, reset: Tensor | None) -> None:
        from . import selective_scan_lanes_jit as lanes

        self.lanes, self.kind, self.wide = lanes, x.dtype, torch.promote_types(x.dtype, torch.float32)
        self.batch, self.length, self.width = x.shape
        self.missing = -self.width % lanes.LANES
        self.x, self.delta = self.padded(x), self.padded(delta)
        self.a = self.packed(a * math.log2(math.e))
        self.b, self.c = (w.to(self.wide).contiguous() for w in (b, c))
        self.cut = torch.zeros(self.batch, self.length, dtype=self.wide)
        if reset is not None:
            self.cut.masked_fill_(reset, -math.inf)
        self.groups = -(-(self.width + self.missing) // lanes.WIDTH)

    def padded(self, x: Tensor) -> Tensor:
        return pad(x.to(self.wide), (0, self.missing)).contiguous()

    def packed(self, states: Tensor) -> Tensor:
        """(..., E, N) -> (..., E N), sixteen channels at a time."""
        whole = pad(states.to(self.wide), (0, 0, 0, self.missing))
        return whole.unflatten(-2, (-1, self.lanes.LANES)).mT.flatten(-3).contiguous()

    def unpacked(self, states: Tensor) -> Tensor:
        split = states.unflatten(-1, (-1, self.b.shape[2], self.lanes.LANES))
        return split.mT.flatten(-3, -2)[..., : self.width, :].contiguous()

    def forward(self, h: Tensor, keeps: bool) -> tuple[Tensor, Tensor, Tensor]:
        """(y, last states, states that enter each block if they are to be kept)."""
        h, y = self.packed(h).clone(), torch.empty_like(self.x)
        blocks = -(-self.length // self.lanes.TOKENS) if keeps else 0
        ends = h.new_empty(self.batch, blocks, h.shape[1])
        self.spread(self.lanes.forward, h, ends, y)
        return y[..., : self.width].to(self.kind).contiguous(), self.unpacked(h), ends

    def backward(self, ends: Tensor, dy: Tensor, dh: Tensor) -> tuple[Tensor, ...]:
        """Gradients of x, delta, a, b, c and h."""
        dh, dx, ddelta = self.packed(dh).clone(), torch.empty_like(self.x), torch.empty_like(self.x)
        da = torch.empty_like(dh)
        db, dc = (self.b.new_empty(self.groups, *self.b.shape) for _ in range(2))
        self.spread(self.lanes.backward, ends, self.padded(dy), dh, dx, ddelta, da, db, dc)
        dx, ddelta = (z[..., : self.width] for z in (dx, ddelta))
        return dx, ddelta, self.unpacked(da.sum(0)), db.sum(0), dc.sum(0), self.unpacked(dh)

    def spread(self, loop: Any, *rest: Tensor) -> None:
        """The loop over all jobs, a share of them at a time on each thread."""
        arrays = [z.detach().numpy() for z in (self.x, self.delta, self.a, self.b, self.c, self.cut, *rest)]
        jobs, threads = self.batch * self.groups, torch.get_num_threads()
        step = max(1, -(-jobs // (threads * SHARES)))
        starts = range(0, jobs, step)
        if threads == 1 or len(starts) == 1:
            return loop(0, jobs, *arrays)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda i: loop(i, min(i + step, jobs), *arrays), starts))


NUMBA = Kernel("numba", refuses, run, lacks=lacks)
