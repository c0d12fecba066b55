"""cosine by fast transforms: O(T log T), sequences of one length together.

(n + a) (k + b) = n k + b n + a (k + b), so y is the real part of a Fourier transform of 2 N points, half of them 0,
between two diagonals of phases. Makhoul 1980, A fast cosine transform in one and two dimensions.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from ...core.layout import Layout
from ..backend import Kernel
from ..sequences import by_length

Kind = Literal[2, 4]


def refuses(x: Tensor, at: Layout, kind: Kind, back: bool) -> str | None:
    return None


def run(x: Tensor, at: Layout, kind: Kind, back: bool) -> Tensor:
    return by_length(x, at, lambda rows: _Turn.apply(rows, kind, back))


class _Turn(torch.autograd.Function):
    """The transform of (M, L, D) along L, or back. Nothing is kept, and any derivative is one more call."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kind: Kind, back: bool) -> Tensor:
        ctx.how = kind, not back
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # half precision has no transform on every device
        return _transform(wide, *halves(kind, back)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return _Turn.apply(g, *ctx.how), None, None


def halves(kind: Kind, back: bool) -> tuple[int, int]:
    """(2 a, 2 b)."""
    return (0, 1) if kind == 2 and back else (1, kind // 4)


def _transform(x: Tensor, a: int, b: int) -> Tensor:
    n = x.shape[1]
    place = torch.arange(n, device=x.device, dtype=x.dtype)
    half = (1 - 0.5 * (place == 0).to(x.dtype)).sqrt()[:, None]  # sqrt(1/2) at 0
    x = x if a else x * half
    if b:
        waves = torch.fft.fft(x * _phase(place / (2 * n)), 2 * n, dim=1)[:, :n]
    else:
        waves = torch.fft.rfft(x, 2 * n, dim=1)[:, :n]
    y = ((waves * _phase((place + b / 2) / (2 * n))) if a else waves).real
    return (y if b else y * half) * math.sqrt(2 / n)


def _phase(turn: Tensor) -> Tensor:
    """exp(-i pi turn): (L, 1)."""
    return torch.polar(torch.ones_like(turn), -math.pi * turn)[:, None]


FFT = Kernel("fft", refuses, run)
