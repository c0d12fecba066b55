"""wavelet by filters on every second place, level after level: O(T) work, sequences of one length together."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.layout import Layout
from ..backend import Kernel
from ..sequences import by_length


def refuses(x: Tensor, at: Layout, order: int, levels: int, back: bool) -> str | None:
    return None


def run(x: Tensor, at: Layout, order: int, levels: int, back: bool) -> Tensor:
    return by_length(x, at, lambda rows: _Turn.apply(rows, order, levels, back))


@lru_cache
def filters(order: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(h, g) of 2 `order` numbers each: what low and high bands are made with.

    The reversed h is (1 + z)^order times the factors (z - r) of least phase of sum_k C(order - 1 + k, k) y^k at
    y = (2 - z - 1/z) / 4, scaled to the sum sqrt(2); g mirrors it with alternating signs. Daubechies 1988.
    """
    series = [math.comb(order - 1 + k, k) for k in range(order)]
    found = []
    for y in np.roots(series[::-1]):
        middle = 1 - 2 * y  # z + 1/z = 2 - 4 y
        r = middle + np.sqrt(middle * middle - 1 + 0j)
        found.append(r if abs(r) < 1 else 1 / r)
    mirrored = np.real(np.poly([-1.0] * order + found))
    mirrored *= math.sqrt(2) / mirrored.sum()
    high = [(-1) ** (j + 1) * v for j, v in enumerate(mirrored)]
    return tuple(map(float, mirrored[::-1])), tuple(map(float, high))


class _Turn(torch.autograd.Function):
    """The transform of (M, L, D) along L, or back. Nothing is kept, and any derivative is one more call."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: int, levels: int, back: bool) -> Tensor:
        ctx.how = order, levels, not back
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return (_join if back else _split)(wide, order, levels).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return _Turn.apply(g, *ctx.how), None, None, None


def _split(x: Tensor, order: int, levels: int) -> Tensor:
    bands: list[Tensor] = []
    for _ in range(levels):
        half = x.shape[1] // 2
        sides = x[:, : 2 * half].unflatten(1, (half, 2)).unbind(2)  # even and odd places
        low = high = torch.zeros_like(sides[0])
        for side, step, h, g in _taps(order):
            near = sides[side].roll(-step, 1)
            low, high = low + h * near, high + g * near
        x, bands = torch.cat((low, x[:, 2 * half :]), 1), [high, *bands]
    return torch.cat([x, *bands], 1)


def _join(c: Tensor, order: int, levels: int) -> Tensor:
    sizes = [c.shape[1]]
    for _ in range(levels):
        sizes.append((sizes[-1] + 1) // 2)
    x, rest = c[:, : sizes[-1]], c[:, sizes[-1] :]
    for n in sizes[-2::-1]:
        half = n // 2
        low, high, rest = x[:, :half], rest[:, :half], rest[:, half:]
        sides = [torch.zeros_like(low), torch.zeros_like(low)]
        for side, step, h, g in _taps(order):
            sides[side] = sides[side] + (h * low + g * high).roll(step, 1)
        x = torch.cat((torch.stack(sides, 2).flatten(1, 2), x[:, half:]), 1)
    return x


def _taps(order: int) -> list[tuple[int, int, float, float]]:
    """(side of the pair, pairs ahead, h, g) of every number of the filters."""
    return [
        (ahead % 2, ahead // 2, h, g) for ahead, h, g in zip(range(order, -order, -1), *filters(order), strict=True)
    ]


BANDS = Kernel("bands", refuses, run)
