"""y = Re(F_T x F_D): the discrete Fourier transform of every sequence along tokens and channels, its real part.

Lee-Thorp et al. 2021, FNet: mixing tokens with Fourier transforms. Unscaled, as there. The map is symmetric,
so that its gradient is the map itself.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..core.layout import Layout
from .backend import Operator
from .check import Draw, mixed
from .kernels.fourier_fft import FFT
from .sequences import one_by_one


def reference(x: Tensor, at: Layout) -> Tensor:
    """x (B, T, D) -> (B, T, D), zeros at padding: cos x cos - sin x sin, each sequence at its own length."""

    def mixed_up(one: Tensor) -> Tensor:
        (cos, sin), (cos_d, sin_d) = _waves(len(one), one), _waves(one.shape[1], one)
        return cos @ one @ cos_d - sin @ one @ sin_d

    return one_by_one(x.to(torch.promote_types(x.dtype, torch.float32)), at, mixed_up).to(x.dtype)


def traced(x: Tensor, at: Layout) -> Tensor:
    """`reference` by one matrix per row: each row starts with its one sequence."""
    wide = at.clean(x).to(torch.promote_types(x.dtype, torch.float32))
    i, n = torch.arange(at.length, device=x.device), at.lengths[:, None, None]
    turn = (i[:, None] * i % n).to(wide.dtype) * (2 * math.pi / n)  # (B, T, T)
    cos, sin = _waves(x.shape[2], wide)
    return at.clean(turn.cos() @ (wide @ cos) - turn.sin() @ (wide @ sin)).to(x.dtype)


def _waves(n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of 2 pi i j / n: (n, n) each."""
    i = torch.arange(n, device=like.device)
    turn = (i[:, None] * i % n).to(like.dtype) * (2 * math.pi / n)
    return turn.cos(), turn.sin()


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    at = mixed(device)
    return Draw(device, dtype)(2, at.length, 6) / 8, at


fourier = Operator("fourier", reference, FFT, traced=traced, sample=sample)
