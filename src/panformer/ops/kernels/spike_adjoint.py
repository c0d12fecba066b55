"""Spikes without a graph of every token: the gradient is one loop back over the potentials, written out.

What a spike takes has no gradient, so an input at s reaches the potential at t by what stays between them.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...core.layout import Layout
from ..backend import Kernel

SHARP = 4.0  # of the surrogate
Reset = Literal["subtract", "zero"]
Told = tuple[tuple[Tensor, Tensor, Tensor], Tensor]


class Neuron(NamedTuple):
    """decay of the potential from token to token, where it fires, and what a spike takes of it."""

    decay: float = 0.5
    threshold: float = 1.0
    reset: Reset = "subtract"


def told(x: Tensor, n: Neuron, at: Layout, v: Tensor | None) -> Told:
    """((inputs (B, T, D), the share of the potential that stays (B, T, 1), 1 at real tokens (B, T, 1)), the first v)."""
    wide = torch.promote_types(x.dtype, torch.float32)
    real = at.valid[..., None]
    keep = torch.ones(real.shape, dtype=wide, device=real.device).masked_fill(real, n.decay)
    if v is None:
        keep, v = keep.masked_fill(at.starts[..., None], 0), x.new_zeros(len(x), x.shape[2])
    return (x.to(wide), keep, real.to(wide)), v.to(wide)


def refuses(x: Tensor, n: Neuron, at: Layout, v: Tensor | None, slope: bool) -> str | None:
    return "a compiler takes the loop apart itself" if torch.compiler.is_compiling() else None


def run(x: Tensor, n: Neuron, at: Layout, v: Tensor | None, slope: bool) -> tuple[Tensor, Tensor]:
    (wide, keep, real), v = told(x, n, at, v)
    spikes, last = _Fire.apply(*(z.transpose(0, 1) for z in (wide, keep, real)), v, n, slope)
    return spikes.transpose(0, 1).to(x.dtype), last


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, keep: Tensor, real: Tensor, v: Tensor, n: Neuron, slope: bool
    ) -> tuple[Tensor, Tensor]:
        """x (T, B, D), keep and real (T, B, 1), v (B, D)."""
        path, spikes = [], []
        for new, stays, live in zip(x.unbind(), keep.unbind(), real.unbind()):
            v = torch.addcmul(new, v, stays)
            s = (v >= n.threshold) * live
            path.append(v)
            spikes.append(s)
            v = torch.sub(v, s, alpha=n.threshold) if n.reset == "subtract" else v * (1 - s)
        out = torch.stack(spikes)
        ctx.save_for_backward(torch.stack(path), out, keep, real)
        ctx.neuron, ctx.slope = n, slope
        return out, v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, carry: Tensor) -> tuple[Any, ...]:
        v, spikes, keep, real = ctx.saved_tensors
        n: Neuron = ctx.neuron
        p = torch.sigmoid(SHARP * (v / n.threshold - 1))
        own = g * real * p * (1 - p) * (SHARP / n.threshold) if ctx.slope else torch.zeros_like(v)
        stays = [None] * len(v) if n.reset == "subtract" else (1 - spikes).unbind()
        found = []
        for mine, left, share in zip(reversed(own.unbind()), reversed(stays), reversed(keep.unbind())):
            mine = mine + carry if left is None else torch.addcmul(mine, carry, left)
            carry = mine * share
            found.append(mine)
        return torch.stack(found[::-1]), None, None, carry, None, None


ADJOINT = Kernel("adjoint", refuses, run)
