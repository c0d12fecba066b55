"""Position from the neighbourhood: a depthwise convolution over the cells, which meets zeros at the border."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from ..core.families import Mixer
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ._cells import odd, on_cells


class Peg(Mixer):
    """conv x, each channel alone over kernel x kernel cells; added to x by a residual whose norm is `none`.

    What lies beyond the border is 0, so that cells learn how far from it they are, on a lattice of any size; where the
    lattice wraps around, all that is left is relative. Tokens before the lattice answer 0. Chu et al. 2021, who place it
    after the first layer.
    """

    paper = "Chu et al. 2021, Conditional positional encodings for vision transformers"
    lattice = True
    examples = ({"kernel": 3}, {"kernel": 5, "border": "wrap"})

    class Config(Base):
        kernel: int = Field(3, gt=0, description="odd: cells seen along each axis")
        border: Literal["zeros", "wrap"] = "zeros"

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        how: Literal["zeros", "circular"] = "circular" if c.border == "wrap" else "zeros"
        side = odd(c.kernel, "peg")
        self.conv = nn.Conv2d(width, width, side, padding=side // 2, groups=width, padding_mode=how)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        return on_cells(x, at, "peg", self.conv)
