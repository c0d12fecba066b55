"""The mean or the largest of a token's neighbourhood, within its sequence or on its lattice."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.layout import Layout
from .conv import from_gaps, to_gaps


def mean_near(x: Tensor, at: Layout, size: int) -> Tensor:
    """(B, T, D) -> (B, T, D): mean over the window of odd `size` around each token, counting real tokens only.

    On a lattice of several axes the window is a square, a cube and so on; else it lies along the sequence.
    """
    if at.grid is not None and len(at.grid) > 1:
        return _mean_on_lattice(x, at.grid, size)
    half = size // 2
    if at.full:
        near = F.avg_pool2d(_image(x), (1, size), 1, (0, half), count_include_pad=False)
        return _tokens(near)
    count = at.derive(("near", size, x.dtype), lambda: _sum(at.valid[..., None].to(x.dtype), at, size).clamp_min(1))
    return _sum(x, at, size) / count


def max_near(x: Tensor, at: Layout, size: int) -> Tensor:
    """(B, T, D) -> (B, T, D): largest over the window of odd `size` around each token, along its sequence."""
    half = size // 2
    line = to_gaps(x, at, half, fill=-torch.inf)
    return from_gaps(_tokens(F.max_pool2d(_image(line), (1, size), 1)), at, 0, half)


def max_segments(x: Tensor, at: Layout, size: int) -> Tensor:
    """(B, T, D) -> (B, T, D): every token gets the largest of its segment, `size` tokens of its sequence; the last
    segment of a sequence may be shorter."""
    rows = at.to_rows(x)  # (N, L, D)
    real = at.to_rows(at.valid)
    tail = -rows.shape[1] % size
    rows = F.pad(rows.masked_fill(~real[..., None], -torch.inf), (0, 0, 0, tail), value=-torch.inf)
    cut = rows.unflatten(1, (-1, size))
    top = cut.amax(2, keepdim=True).expand_as(cut).flatten(1, 2)[:, : real.shape[1]]
    return at.from_rows(top.masked_fill(~real[..., None], 0))


def _sum(x: Tensor, at: Layout, size: int) -> Tensor:
    half = size // 2
    line = F.avg_pool2d(_image(to_gaps(x, at, half)), (1, size), 1, divisor_override=1)
    return from_gaps(_tokens(line), at, 0, half)


def _mean_on_lattice(x: Tensor, grid: tuple[int, ...], size: int) -> Tensor:
    """Windows are boxes, so their mean is the mean along one axis after the other; the last two go together."""
    cells = x.unflatten(1, grid).movedim(-1, 1)  # (B, D, *grid)
    for axis in range(len(grid) - 2):
        line = cells.movedim(2 + axis, -1)
        one = F.avg_pool2d(_plain(line.flatten(2, -2)), (1, size), 1, (0, size // 2), count_include_pad=False)
        cells = one.view(line.shape).movedim(-1, 2 + axis)
    flat = cells.flatten(2, -3) if len(grid) > 2 else cells[:, :, None]
    near = F.avg_pool2d(_plain(flat.flatten(1, 2)), size, 1, size // 2, count_include_pad=False)
    return near.view(cells.shape).movedim(1, -1).flatten(1, -2)


def _image(x: Tensor) -> Tensor:
    """(B, L, D) -> (B, D, 1, L), on a CPU a view with channels last, which is what pooling is fast on there."""
    return _plain(x[:, None].permute(0, 3, 1, 2))


def _plain(image: Tensor) -> Tensor:
    """On CUDA a copy with channels first: for others avg_pool2d was seen to give wrong gradients (torch 2.11)."""
    return image.contiguous() if image.is_cuda else image


def _tokens(image: Tensor) -> Tensor:
    return image[:, :, 0].transpose(1, 2)
