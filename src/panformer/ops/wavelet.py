"""The discrete wavelet transform of every sequence along its tokens, by orthonormal Daubechies filters of any order.

One level makes of x its low and its high band, low_k = sum_j h_j x_{2k + F/2 - j} and the same with g for high_k, around
a circle of an even number n of places, k < n / 2; the next level splits the low band. Of an odd number the last place
goes on to the next level as it is. So n numbers become n, the matrix is orthonormal at any length, its transpose is the
inverse, and a sequence too short to split stays as it is. Where all numbers are even it is PyWavelets' `periodization`.
Order 1 is Haar's. Daubechies 1988, Orthonormal bases of compactly supported wavelets; Mallat 1989 (levels).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.layout import Layout
from .backend import Operator
from .check import Draw, mixed
from .kernels.wavelet_bands import BANDS, filters
from .sequences import one_by_one


def reference(x: Tensor, at: Layout, order: int, levels: int, back: bool) -> Tensor:
    """x (B, T, D) -> (B, T, D), zeros at padding; each sequence by the matrix of its own length, or its transpose.

    The coefficients of a sequence stand where its tokens were: the low band of the last level, then the high bands from
    the last level to the first. See `octaves` for which is which.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))

    def turned(one: Tensor) -> Tensor:
        w = matrix(len(one), order, levels, one)
        return (w.mT if back else w) @ one

    return one_by_one(wide, at, turned).to(x.dtype)


def matrix(n: int, order: int, levels: int, like: Tensor) -> Tensor:
    """(n, n) of the whole transform, in the type and on the device of `like`: the product of its levels."""
    out = torch.eye(n, dtype=like.dtype, device=like.device)
    for _ in range(levels):
        out = torch.cat([_level(n, order, like) @ out[:n], out[n:]])
        n = (n + 1) // 2
    return out


def _level(n: int, order: int, like: Tensor) -> Tensor:
    """(n, n) of one level, its low rows first."""
    half, low = n // 2, (n + 1) // 2
    w = torch.zeros(n, n, dtype=like.dtype, device=like.device)
    for row in range(half):
        for j, (h, g) in enumerate(zip(*filters(order), strict=True)):
            place = (2 * row + order - j) % (2 * half)
            w[row, place] += h
            w[low + row, place] += g
    w[half:low, 2 * half :] = 1
    return w


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    at = mixed(device)
    return Draw(device, dtype)(2, at.length, 6), at, 2, 3, False


wavelet = Operator("wavelet", reference, BANDS, sample=sample)
