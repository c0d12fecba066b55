"""What convolutions over the cells of a lattice share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.layout import Layout
from ..ops.lattice import lattice


def on_cells(x: Tensor, at: Layout, who: str, f: Callable[[Tensor], Tensor]) -> Tensor:
    """f of the cells as an image (B, D, h, w), of the same size; tokens before the lattice answer 0. x (B, T, D)."""
    count, grid = lattice(at, who)
    if len(grid) != 2:
        raise InputError(f"{who}: needs tokens on a lattice of two axes")
    near = f(x[:, count:].mT.unflatten(2, grid)).flatten(2).mT
    return torch.cat([torch.zeros_like(x[:, :count]), near], 1)


def odd(kernel: int, who: str) -> int:
    """A kernel that has a cell in its middle."""
    if kernel % 2 == 0:
        raise InputError(f"{who}: kernel must be odd, so that a cell is in its middle; got {kernel}")
    return kernel
