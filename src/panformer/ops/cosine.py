"""The discrete cosine transforms of every sequence along its tokens, with orthonormal matrices.

y_k = s sum_n x_n cos(pi (n + a) (k + b) / N): kind 2 has (a, b) = (1/2, 0), its inverse, often called kind 3, (0, 1/2),
and kind 4, its own inverse, (1/2, 1/2). s = sqrt(2 / N), times sqrt(1/2) for what stands at 0 on a side without a half.
The transpose is the inverse, so that the gradient is one more transform. Ahmed et al. 1974, Discrete cosine transform.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..core.layout import Layout
from .backend import Operator
from .check import Draw, mixed
from .kernels.cosine_fft import FFT, Kind
from .sequences import one_by_one


def reference(x: Tensor, at: Layout, kind: Kind, back: bool) -> Tensor:
    """x (B, T, D) -> (B, T, D), zeros at padding: each sequence by the matrix of its own length, or its transpose."""

    def turned(one: Tensor) -> Tensor:
        c = matrix(len(one), kind, one)
        return (c.mT if back else c) @ one

    return one_by_one(x.to(torch.promote_types(x.dtype, torch.float32)), at, turned).to(x.dtype)


def traced(x: Tensor, at: Layout, kind: Kind, back: bool) -> Tensor:
    """`reference` by one matrix per row: each row starts with its one sequence."""
    wide = at.clean(x).to(torch.promote_types(x.dtype, torch.float32))
    i = torch.arange(at.length, device=x.device)
    c = _waves(i, at.lengths[:, None, None], kind, wide)
    return at.clean((c.mT if back else c) @ wide).to(x.dtype)


def matrix(n: int, kind: Kind, like: Tensor) -> Tensor:
    """(n, n), in the type and on the device of `like`."""
    i = torch.arange(n, device=like.device)
    return _waves(i, torch.tensor(n, device=like.device), kind, like)


def _waves(i: Tensor, n: Tensor, kind: Kind, like: Tensor) -> Tensor:
    """(..., T, T): k falls, n goes along. Turns are counted in whole eighths of 1 / n, of which none is lost."""
    turn = ((2 * i[:, None] + kind // 4) * (2 * i + 1) % (8 * n)).to(like.dtype)
    n = n.to(like.dtype)
    turn = turn * (math.pi / (4 * n))
    return turn.cos() * torch.where((i[:, None] == 0) & (kind == 2), 1 / n, 2 / n).sqrt()


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    at = mixed(device)
    return Draw(device, dtype)(2, at.length, 6), at, 2, False


cosine = Operator("cosine", reference, FFT, traced=traced, sample=sample)
