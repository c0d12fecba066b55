"""A coarser lattice by a strided convolution: the step between the stages of a pyramid."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Reducer
from ..core.layout import Layout
from ..core.part import Config as Base


class Downsample(Reducer):
    """conv(x), `size` cells wide, every `stride` cells: (B, h w, D) on (h, w) -> (B, h' w', D') on (h', w').

    h' = floor((h + 2 padding - size) / stride) + 1. Yu et al. 2021, PoolFormer (3, 2, 1); size = stride without
    padding joins neighbouring cells as the patch merging of Liu et al. 2021, Swin.
    """

    paper = "Yu et al. 2021, MetaFormer is actually what you need for vision"
    lattice = True
    examples = ({}, {"size": 2, "stride": 2, "padding": 0})

    class Config(Base):
        size: int = Field(3, gt=0)
        stride: int = Field(2, gt=0)
        padding: int = Field(1, ge=0)

    def __init__(self, c: Config, width: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, after, c.size, c.stride, c.padding)
        nn.init.normal_(self.conv.weight, std=(width * c.size**2) ** -0.5)
        self.size, self.padding = c.size, c.padding

    def forward(self, x: Tensor, at: Layout) -> tuple[Tensor, Layout]:
        if at.grid is None or len(at.grid) != 2:
            raise InputError("downsample: needs tokens on a lattice of two axes")
        if min(at.grid) + 2 * self.padding < self.size:
            raise InputError(f"downsample: a lattice of {at.grid} is smaller than {self.size} cells")
        cells = self.conv(x.transpose(1, 2).unflatten(2, at.grid))
        grid = tuple(cells.shape[2:])
        return cells.flatten(2).transpose(1, 2), Layout.lattice(x.shape[0], grid, x.device)
