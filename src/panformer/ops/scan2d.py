"""h_{i,j} = a_{i,j} h_{i-1,j} + b_{i,j} h_{i,j-1} + x_{i,j}: a linear recurrence over two axes at once, elementwise.

Every path from a cell right and down to another one carries the product of its weights, so with |a| + |b| <= 1 no state
outgrows what is added. Graves et al. 2007, Multi-dimensional recurrent neural networks, with gates that do not read
the state.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .backend import Operator
from .check import Draw
from .kernels.scan2d_diagonals import DIAGONALS, run


def reference(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """a, b, x (N, H, W, E) -> h (N, H, W, E), cell by cell, nothing beyond the edges.

    Numbers narrower than float32 are summed in float32; h comes back in the type of x.
    """
    kind, wide = x.dtype, torch.promote_types(x.dtype, torch.float32)
    a, b, x = (z.to(wide) for z in (a, b, x))
    above: list[Tensor] = []
    rows = []
    for i in range(x.shape[1]):
        row: list[Tensor] = []
        for j in range(x.shape[2]):
            h = x[:, i, j]
            if i:
                h = h + a[:, i, j] * above[j]
            if j:
                h = h + b[:, i, j] * row[-1]
            row.append(h)
        rows.append(torch.stack(row, 1))
        above = row
    return torch.stack(rows, 1).to(kind)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw = Draw(device, dtype)
    return draw(2, 5, 7, 3) / 2, draw(2, 5, 7, 3) / 2, draw(2, 5, 7, 3)


scan2d = Operator("scan2d", reference, DIAGONALS, traced=run, sample=sample)
