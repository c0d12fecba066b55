"""The recurrence over two axes, one antidiagonal after the other: all cells of one need only the one before."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..backend import Kernel


def run(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """H + W - 1 steps over the shorter side, as `scan2d.reference`."""
    if x.shape[1] > x.shape[2]:
        return run(b.transpose(1, 2), a.transpose(1, 2), x.transpose(1, 2)).transpose(1, 2)
    kind, wide = x.dtype, torch.promote_types(x.dtype, torch.float32)
    width = x.shape[2]
    steps = zip(*(_slanted(z.to(wide)).unbind(0) for z in (a, b, x)), strict=True)
    h, found = torch.zeros_like(x[:, :, 0], dtype=wide), []
    for a_now, b_now, new in steps:
        h = new + a_now * F.pad(h, (0, 0, 1, 0))[:, :-1] + b_now * h
        found.append(h)
    return _straight(torch.stack(found), width).to(kind)


def _slanted(x: Tensor) -> Tensor:
    """(N, H, W, E) -> (H + W - 1, N, H, E): cell (i, j) on diagonal i + j, row i; zeros where a diagonal has none."""
    n, h, w, e = x.shape
    flat = F.pad(x, (0, 0, 0, h)).flatten(1, 2)[:, : h * (w + h - 1)]  # each row starts one place later than the last
    return flat.view(n, h, w + h - 1, e).permute(2, 0, 1, 3)


def _straight(x: Tensor, width: int) -> Tensor:
    """The inverse of `_slanted`."""
    d, n, h, e = x.shape
    flat = F.pad(x.permute(1, 2, 0, 3).flatten(1, 2), (0, 0, 0, h))
    return flat.view(n, h, d + 1, e)[:, :, :width]


DIAGONALS = Kernel("diagonals", lambda a, b, x: None, run)
