"""A linear recurrence over the two axes of a lattice at once, from each of its four corners."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Mixer, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.grids import CORNERS, from_grids, to_grids
from ..ops.scan2d import scan2d


class GridRnn(Mixer):
    """o(h), h_{i,j} = a h_{i-1,j} + b h_{i,j-1} + c v_{i,j}, v = w x, (a, b, c) = softmax of gates that read x_{i,j}.

    A quarter of the channels starts at each corner, so that together they hear from the whole image. a + b + c = 1
    keeps h within what v was; beyond the edges h is 0. Graves et al. 2007 (two axes, four corners); Leifert et al. 2016
    (weights that sum to 1, without which two axes are unstable). Their gates read h, too; these read the token alone,
    as minGRU's do, and so all cells of a diagonal are computed at once.
    """

    paper = "Leifert et al. 2016, Cells in multidimensional recurrent neural networks"
    lattice = True
    examples = ({}, {"expand": 2, "bias": True})

    class Config(Base):
        expand: int = Field(1, gt=0, description="channels inside, as a multiple of the width")
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        inner = c.expand * width
        if inner % len(CORNERS):
            raise InputError(f"grid_rnn: {inner} channels do not divide among {len(CORNERS)} corners")
        self.input = linear(width, 4 * inner, c.bias)  # values, then the gates
        self.output = linear(inner, width, c.bias)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        v, *gates = self.input(at.clean(x)).to(wide).chunk(4, -1)
        a, b, take = torch.stack(gates).softmax(0)
        parts = zip(*(z.chunk(len(CORNERS), -1) for z in (a, b, take * v)), strict=True)
        grids = [to_grids(torch.cat(own, -1), at, corner) for own, corner in zip(parts, CORNERS, strict=True)]
        h = scan2d(*torch.cat(grids).chunk(3, -1)).chunk(len(CORNERS))
        return self.output(torch.cat([from_grids(g, at, c) for g, c in zip(h, CORNERS, strict=True)], -1).to(x.dtype))
