"""Images of a batch as one array (N, H, W, ...), seen from any of their four corners, and back to tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.layout import Layout
from .orders import extents

Corner = tuple[bool, bool]  # whether rows, columns are counted from their end
CORNERS: tuple[Corner, ...] = ((False, False), (False, True), (True, False), (True, True))


def to_grids(x: Tensor, at: Layout, corner: Corner) -> Tensor:
    """x (B, T, D) -> (N, H, W, D), one image per sequence, with the cell of this corner at (0, 0).

    Images of different sizes are as large as the largest; what is no cell of one holds zeros.
    Errors: InputError where tokens have not two coordinates.
    """
    axes = _turned(corner)
    if at.grid is not None and len(at.grid) == 2:
        image = x.unflatten(1, at.grid)
        return image.flip(axes) if axes else image
    place, (n, h, w) = _places(at, corner)
    tokens = at.derive("tokens", lambda: at.valid.flatten().nonzero()[:, 0])
    out = x.new_zeros(n * h * w, x.shape[-1])
    out = out.index_copy(0, place.flatten()[tokens], x.flatten(0, 1).index_select(0, tokens))
    return out.view(n, h, w, -1)


def from_grids(image: Tensor, at: Layout, corner: Corner) -> Tensor:
    """(N, H, W, D) -> (B, T, D), zeros at padding: the inverse of `to_grids`."""
    axes = _turned(corner)
    if at.grid is not None and len(at.grid) == 2:
        return (image.flip(axes) if axes else image).flatten(1, 2)
    place, _ = _places(at, corner)
    return at.clean(image.flatten(0, 2).index_select(0, place.flatten()).view(*place.shape, -1))


def _turned(corner: Corner) -> list[int]:
    return [axis for axis, last in enumerate(corner, 1) if last]


def _places(at: Layout, corner: Corner) -> tuple[Tensor, tuple[int, int, int]]:
    """((B, T) cell of each token among those of all images, 0 at padding, and how many images, rows, columns)."""

    def make() -> tuple[Tensor, tuple[int, int, int]]:
        if at.full or at.pos.shape[-1] != 2:
            raise InputError("a recurrence over two axes needs tokens on a lattice of two axes")
        sizes = extents(at)
        h, w = sizes.amax(0).tolist()
        n = at.ordinal.clamp(min=0)
        last = sizes[n] - 1
        i, j = (e - p if c else p for c, e, p in zip(corner, last.unbind(-1), at.pos.unbind(-1), strict=True))
        return torch.where(at.valid, (n * h + i) * w + j, 0), (len(sizes), h, w)

    found: tuple[Tensor, tuple[int, int, int]] = at.derive(("grids", corner), make)
    return found
