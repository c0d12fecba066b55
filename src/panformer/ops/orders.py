"""Orders in which the cells of lattices are read: permutations within each sequence, remembered by its layout.

raster goes row by row, column down the last axis first; snake and column_snake are those with every second line turned
around, so that each cell lies beside the one before (continuous); spiral goes around the border and inwards, clockwise.
Each read from its end is another order, `..._back`: spiral_back goes from the inside out. Raster, column and the two
from their ends are the cross of Liu et al. 2024, VMamba. Images may be of different sizes, packed and padded; padding
stays where it is. Tokens before a lattice (class tokens) are read first, and last from the end.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.layout import Layout
from .conv import pick
from .lattice import lattice

Order = Literal[
    "raster", "raster_back", "column", "column_back", "snake", "snake_back", "column_snake", "column_snake_back",
    "spiral", "spiral_back",
]  # fmt: skip
ORDERS: tuple[Order, ...] = get_args(Order)
CROSS: tuple[Order, ...] = ("raster", "raster_back", "column", "column_back")
WHO = "an order of cells"


def arrange(x: Tensor, at: Layout, order: Order) -> Tensor:
    """x (B, T, D) -> the same, the tokens of each sequence in this order."""
    return _taken(x, _places(at, order)[0])


def restore(x: Tensor, at: Layout, order: Order) -> Tensor:
    """The inverse of `arrange`: each token back in its place."""
    return _taken(x, _places(at, order)[1])


def line(at: Layout) -> Layout:
    """The layout of what `arrange` answers: sequences of the same lengths, whose positions count the tokens read."""

    def make() -> Layout:
        if at.full:
            return Layout.dense(at.batch, at.length, device=at.device)
        place = torch.arange(at.length, device=at.device).expand_as(at.seg)
        first = torch.where(at.starts, place, 0).cummax(1).values
        pos = torch.where(at.valid, at.valid.cumsum(1) - at.valid.cumsum(1).gather(1, first), 0)
        return Layout(at.seg, pos[..., None], padless=at.padless, single=at.single)

    out: Layout = at.derive("line", make)
    return out


def extents(at: Layout) -> Tensor:
    """(N, P): the sizes of the smallest lattice that holds all cells of a sequence, for every sequence."""

    def make() -> Tensor:
        sizes = at.pos.new_zeros(at.sequences, at.pos.shape[-1])
        owner = at.ordinal[at.valid][:, None].expand(-1, sizes.shape[1])
        return sizes.scatter_reduce(0, owner, at.pos[at.valid] + 1, "amax")

    out: Tensor = at.derive("extents", make)
    return out


def _taken(x: Tensor, where: Tensor) -> Tensor:
    return x.index_select(1, where) if where.dim() == 1 else pick(x, where)


def _places(at: Layout, order: Order) -> tuple[Tensor, Tensor]:
    """(the place that each token of the order is taken from, its inverse): (T,) where all rows are alike, or (B, T)."""
    found: tuple[Tensor, Tensor] = at.derive(("order", order), lambda: _find(at, order))
    return found


def _find(at: Layout, order: Order) -> tuple[Tensor, Tensor]:
    shape, back = order.removesuffix("_back"), order.endswith("_back")
    if at.full:
        before, grid = lattice(at, WHO)
        cells = Layout.lattice(1, grid, at.device).pos[0]
        index = _rank(shape, cells, torch.tensor(grid, device=at.device).expand_as(cells)).argsort() + before
        index = torch.cat([torch.arange(before, device=at.device), index])
        index = index.flip(0) if back else index
        return index, index.argsort()
    rank = _rank(shape, at.pos, extents(at)[at.ordinal.clamp(min=0)])
    rank = -rank if back else rank
    where = at.valid.flatten().nonzero()[:, 0]
    by_rank = rank.flatten()[where].argsort(stable=True)
    taken = where[by_rank[at.ordinal.flatten()[where][by_rank].argsort(stable=True)]]
    place = torch.arange(at.seg.numel(), device=at.device)
    first, place = place - place % at.length, place % at.length
    index = place.index_copy(0, where, place[taken])
    return index.view_as(at.seg), (index + first).argsort().remainder(at.length).view_as(at.seg)


def _rank(shape: str, cells: Tensor, sizes: Tensor) -> Tensor:
    """When each cell (..., P) of a lattice of these sizes (..., P) is read, counted from 0."""
    axes = cells.shape[-1]
    if shape != "raster" and (axes < 2 or (axes > 2 and shape == "spiral")):
        raise InputError(f"{WHO}: {shape!r} needs two axes{'' if shape == 'spiral' else ' or more'}, got {axes}")
    if shape == "spiral":
        return _spiral(*cells.unbind(-1), *sizes.unbind(-1))
    if shape.startswith("column"):
        cells, sizes = cells.flip(-1), sizes.flip(-1)
    rank = cells[..., 0]
    for axis in range(1, axes):
        i, n = cells[..., axis], sizes[..., axis]
        turned = torch.where(rank % 2 == 1, n - 1 - i, i) if shape.endswith("snake") else i
        rank = rank * n + turned
    return rank


def _spiral(i: Tensor, j: Tensor, h: Tensor, w: Tensor) -> Tensor:
    """Of a cell on the r-th ring from outside: the cells of the rings before, and its place along its own."""
    r = torch.stack([i, j, h - 1 - i, w - 1 - j]).amin(0)
    high, wide = h - 2 * r, w - 2 * r
    top, right = j - r, wide - 1 + i - r
    bottom, left = wide + high - 2 + w - 1 - r - j, 2 * wide + high - 3 + h - 1 - r - i
    side = torch.where(i == h - 1 - r, bottom, left)
    along = torch.where(i == r, top, torch.where(j == w - 1 - r, right, side))
    return h * w - high * wide + along
