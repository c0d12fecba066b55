"""Rotations of pairs of numbers by angles that grow with position."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

Pairing = Literal["half", "interleaved"]


class Stretch(NamedTuple):
    """How far positions reach beyond what a model was trained on."""

    factor: float
    trained: int | None = None  # positions it was trained on; None: all pairs slow down alike
    low: float = 1.0
    high: float = 4.0


def angles(pos: Tensor, width: int, base: float, stretch: Stretch | None = None) -> Tensor:
    """pos_p * base^(-2i / (width/P)): (B|1, T, width/2), coordinate p turning its own width/(2P) pairs.

    pos (B, T, P) int64, width a multiple of 2P. In float64: in float32 a position of 100,000 would be off by 0.01 rad.
    Rows that all sit at the same places give one row. `stretch` slows the pairs down. Su et al. 2021, RoFormer.
    """
    pos = pos[:1] if pos.stride(0) == 0 else pos
    each = width // pos.shape[-1]
    rate = base ** (torch.arange(0, each, 2, device=pos.device, dtype=torch.float64) / -each)
    if stretch is not None:
        rate = rate * slower(rate, stretch)
    return (pos[..., None] * rate).flatten(-2)


def sinusoid(pos: Tensor, width: int, base: float) -> Tensor:
    """[sin(t r_0), cos(t r_0), sin(t r_1), ...], r_i = base^(-2i / width): (B|1, T, width) in float64, pos as above.

    Vaswani et al. 2017, Attention is all you need.
    """
    turn = angles(pos, width, base)
    return torch.stack((turn.sin(), turn.cos()), -1).flatten(-2)


def slower(rate: Tensor, how: Stretch) -> Tensor:
    """What every rate (radians per position) is multiplied with, so that `factor` times the length can be read.

    1 / factor for all pairs; where `trained` is given, only for those that turn fewer than `low` times in it, while
    those that turn more than `high` times stay, and those between go linearly from one to the other. Chen et al. 2023,
    Extending context window of large language models via positional interpolation; Grattafiori et al. 2024, Llama 3.
    """
    if how.trained is None:
        return torch.full_like(rate, 1 / how.factor)
    turns = how.trained * rate / (2 * math.pi)
    kept = ((turns - how.low) / (how.high - how.low)).clamp(0, 1)
    return kept + (1 - kept) / how.factor


def waves(turn: Tensor, pairing: Pairing, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What `rotate` takes for angles (..., E/2): cosine and sine, as `half` reads them twice as long."""
    cos, sin = turn.cos().to(dtype), turn.sin().to(dtype)
    return (cos, sin) if pairing == "interleaved" else (torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1))


def rotate(x: Tensor, cos: Tensor, sin: Tensor, pairing: Pairing) -> Tensor:
    """(a, b) -> (a cos - b sin, b cos + a sin) for every pair of the last axis.

    x (..., E), cos and sin from `waves`. `half` pairs i with i + E/2, `interleaved` pairs 2i with 2i + 1.
    """
    if pairing == "half":
        if x.device.type != "cpu" or torch.compiler.is_compiling() or cos.requires_grad or sin.requires_grad:
            return x * cos + x.roll(x.shape[-1] // 2, -1) * sin
        out: Tensor = _Half.apply(x, cos, sin)
        return out
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)


class _Half(torch.autograd.Function):
    """`rotate` by halves in two passes over x in place of four, and back by the opposite angles."""

    @staticmethod
    def forward(ctx: Any, x, cos, sin):
        ctx.save_for_backward(cos, sin)
        y, half = x * cos, x.shape[-1] // 2
        for here, there in ((slice(half), slice(half, None)), (slice(half, None), slice(half))):
            y[..., here].addcmul_(x[..., there], sin[..., here])
        return y

    @staticmethod
    def backward(ctx: Any, dy):
        cos, sin = ctx.saved_tensors
        return _Half.apply(dy, cos, -sin), None, None
