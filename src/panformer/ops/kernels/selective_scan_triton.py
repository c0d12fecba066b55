"""selective_scan on a GPU: blocks of time in parallel, each an associative scan that never leaves the registers.

Three passes: what every block adds and keeps, the states between blocks, the answers. The backward pass goes the same
way from the other end and makes the states of a block again, so that only those between blocks are kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..backend import Kernel
from .selective_scan_blocks import again
from .triton_here import lacks

TOKENS, CHANNELS, WARPS = 64, 32, 8  # of one program


def refuses(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, reset: Tensor | None, h: Tensor | None
) -> str | None:
    if x.shape[1] == 1:
        return "one token: the formula itself is fastest"
    if b.dim() == 2 or c.dim() == 2:
        return "the weights do not depend on time"
    return lacks(x.device, x.dtype)


def run(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, reset: Tensor | None, h: Tensor | None
) -> tuple[Tensor, Tensor]:
    if h is None:
        h = x.new_zeros(x.shape[0], *a.shape, dtype=torch.float32)
    return _Scan.apply(x, delta, a, b, c, reset, h)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x, delta, a, b, c, reset, h):
        one = _Blocks(x, delta, a, b, c, reset)
        path = one.carried(one.x, one.b, h, False)
        y = torch.empty_like(one.x)
        one.call("read", one.x, one.delta, one.a, one.b, one.c, one.reset, path, y)
        ctx.save_for_backward(x, delta, a, b, c, h, path)
        ctx.reset = reset
        return y, path[:, -1].mT.contiguous()

    @staticmethod
    def backward(ctx: Any, dy, dh):
        x, delta, a, b, c, h, path = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: differentiate the plain form
            return again((x, delta, a, b, c, h), ctx.reset, dy, dh)
        one, dy = _Blocks(x, delta, a, b, c, ctx.reset), dy.contiguous()
        back = one.carried(dy, one.c, dh, True)
        dx, ddelta = torch.empty_like(one.x), torch.empty_like(one.delta)
        da = torch.empty(path.shape[0], one.blocks, *path.shape[2:], device=x.device)
        db, dc = (torch.empty(one.columns, *b.shape, device=x.device) for _ in range(2))
        one.call("slopes", one.x, one.delta, one.a, one.b, one.c, one.reset, path, dy, back, dx, ddelta, da, db, dc)
        dh = back[:, -1].mT.to(h.dtype)
        return dx, ddelta, da.sum((0, 1)).mT.to(a.dtype), db.sum(0).to(b.dtype), dc.sum(0).to(c.dtype), None, dh


class _Blocks:
    """The inputs as the device code wants them, and its calls."""

    def __init__(self, x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, reset: Tensor | None) -> None:
        self.x, self.delta, self.b, self.c = (z.contiguous() for z in (x, delta, b, c))
        self.a = a.float().mT.contiguous()  # (N, E)
        self.resets = reset is not None
        self.reset = self.x if reset is None else reset.contiguous().view(torch.uint8)
        self.blocks, self.columns = -(-x.shape[1] // TOKENS), -(-x.shape[2] // CHANNELS)

    def call(self, name: str, *tensors: Tensor, back: bool | None = None) -> None:
        from . import selective_scan_jit as jit

        grid = (self.blocks, self.columns, self.x.shape[0])
        sizes = (self.x.shape[1], self.x.shape[2], self.a.shape[0])
        way = {} if back is None else {"BACK": back}
        getattr(jit, name)[grid](
            *tensors, *sizes, RESETS=self.resets, TOKENS=TOKENS, CHANNELS=CHANNELS, num_warps=WARPS, **way
        )

    def carried(self, v: Tensor, w: Tensor, start: Tensor, back: bool) -> Tensor:
        """(B, n + 1, N, E): the state (or its gradient) that enters each block, in the order they are gone through."""
        from . import selective_scan_jit as jit

        batch, (states, width) = len(v), self.a.shape
        gain, local = (torch.empty(batch, self.blocks, states, width, device=v.device) for _ in range(2))
        self.call("ends", v, self.delta, self.a, w, self.reset, gain, local, back=back)
        path = torch.empty(batch, self.blocks + 1, states, width, device=v.device)
        size, wide = states * width, 64
        start = start.float().mT.contiguous()
        grid = (-(-size // wide), batch)
        jit.carry[grid](start, gain, local, path, self.blocks, size, BACK=back, ROWS=32, CHANNELS=wide, num_warps=WARPS)
        return path


TRITON = Kernel("triton", refuses, run, lacks=lacks)
