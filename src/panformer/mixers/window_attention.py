"""Softmax attention within square windows of a lattice, which every other layer moves by half a window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.score import Mask, Same
from ..core.shared import Shared
from ..ops.attend import attend, merge_heads, split_heads


class WindowAttention(Mixer):
    """o(softmax(q k' / sqrt(E) + score) v) over the cells of one window of `size` x `size`.

    With `shift` the windows lie that many cells further right and down, and those that reach over the border are cut
    there into parts that do not see each other. A lattice that windows do not cover gets empty cells on the right and
    below, which are seen as any other; on one no larger than a window, one window is as large as its shorter side and
    nothing shifts. Liu et al. 2021.
    """

    paper = "Liu et al. 2021, Swin transformer: hierarchical vision transformer using shifted windows"
    lattice = True
    positions = frozenset({"bias"})
    examples = (
        {"heads": 2, "size": 2},
        {"heads": 4, "size": 2, "shift": 1, "bias": True},
        {"heads": 2, "size": 2, "shift": 1, "position": {"use": "relative_grid", "grid": (2, 2)}},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        size: int = Field(7, gt=0, description="cells on each side of a window")
        shift: int = Field(0, ge=0, description="cells by which the windows are moved")
        bias: bool = False
        out_bias: bool | None = Field(None, description="default: as bias")
        dropout: float = Field(0.0, ge=0, lt=1)
        position: Annotated[Base | None, Slot("positions")] = None

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        size = head_width(self, width, c.heads)
        if c.shift >= c.size:
            raise InputError(f"window_attention: shift {c.shift} must be less than the size {c.size} of a window")
        self.heads, self.size, self.shift, self.dropout = c.heads, c.size, c.shift, c.dropout
        self.q, self.k, self.v = (linear(width, width, c.bias) for _ in range(3))
        self.o = linear(width, width, c.bias if c.out_bias is None else c.out_bias)
        self.position = c.position.build(c.heads, size) if c.position else None

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        if at.grid is None or len(at.grid) != 2:
            raise InputError("window_attention: needs tokens on a lattice of two axes")
        one = min(at.grid) <= self.size
        size, shift = (min(at.grid), 0) if one else (self.size, self.shift)
        cut, mask = at.derive(("windows", size, shift), lambda: _windows(at, size, shift))
        cells = x.unflatten(1, at.grid)
        rows, columns = (-n % size for n in at.grid)
        cells = F.pad(cells, (0, 0, 0, columns, 0, rows)).roll((-shift, -shift), (1, 2))
        u = cells.unflatten(2, (-1, size)).unflatten(1, (-1, size))  # (B, R, size, C, size, D)
        many = (*u.shape[:2], u.shape[3])
        u = u.transpose(2, 3).flatten(3, 4).flatten(0, 2)  # (B R C, size^2, D)
        q, k, v = (split_heads(m(u), self.heads) for m in (self.q, self.k, self.v))
        bias = self.position.bias() if self.position is not None else None
        score = mask if bias is None else mask + bias
        dropout = self.dropout if self.training else 0.0
        y = merge_heads(attend(q, k, v, score, cut, cut, q.shape[-1] ** -0.5, dropout))
        y = self.o(y).unflatten(0, many).unflatten(3, (size, size)).transpose(2, 3)
        cells = y.flatten(3, 4).flatten(1, 2).roll((shift, shift), (1, 2))
        return cells[:, : at.grid[0], : at.grid[1]].flatten(1, 2)


@dataclass(frozen=True, eq=False)
class Parts(Mask):
    """Query and key belong to the same part of a window. part (B, T) int64."""

    part: Tensor

    def keep(self, q, k):
        return (self.part[:, :, None] == self.part[:, None, :])[:, None]


def _windows(at: Layout, size: int, shift: int) -> tuple[Layout, Mask]:
    """(the layout of all windows, one per row; which cells of one see each other)."""
    assert at.grid is not None
    wide = [n + -n % size for n in at.grid]
    many = at.batch * wide[0] * wide[1] // size**2
    cut = Layout.lattice(many, (size, size), at.device)
    if not shift:
        return cut, Same()
    along = [(torch.arange(n, device=at.device) >= n - shift).long() for n in wide]  # moved in from the other border
    part = (2 * along[0][:, None] + along[1]).unflatten(1, (-1, size)).unflatten(0, (-1, size))
    part = part.transpose(1, 2).flatten(2, 3).flatten(0, 1)  # (R C, size^2)
    return cut, Same() & Parts(part.repeat(at.batch, 1))
