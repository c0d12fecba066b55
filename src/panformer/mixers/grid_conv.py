"""Local convolution on a lattice: every channel alone over a square of neighbours, between two maps over channels."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Mixer, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.activations import ACTIVATIONS, Activation


class GridConv(Mixer):
    """w_2 conv(act(w_1 x)), conv depthwise over kernel x kernel cells, zeros beyond the border.

    Yu et al. 2022, SepConv. Their StarReLU is relu2 with a scale and a shift, which are left to the maps that follow.
    """

    paper = "Yu et al. 2022, MetaFormer baselines for vision"
    lattice = True
    examples = ({"kernel": 3}, {"kernel": 5, "expand": 1, "bias": True})

    class Config(Base):
        kernel: int = Field(7, gt=0, description="odd: cells seen along each axis")
        expand: int = Field(2, gt=0, description="channels inside, as a multiple of the width")
        activation: Activation = "relu2"
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        if c.kernel % 2 == 0:
            raise InputError(f"grid_conv: kernel must be odd, so that a window has a middle; got {c.kernel}")
        inner = c.expand * width
        self.act, self.kernel = ACTIVATIONS[c.activation], c.kernel
        self.input, self.output = linear(width, inner, c.bias), linear(inner, width, c.bias)
        self.filter = nn.Parameter(torch.randn(inner, 1, c.kernel, c.kernel) / c.kernel)
        self.offset = nn.Parameter(torch.zeros(inner)) if c.bias else None

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        if at.grid is None or len(at.grid) != 2:
            raise InputError("grid_conv: needs tokens on a lattice of two axes")
        u = self.act(self.input(x)).unflatten(1, at.grid).movedim(-1, 1)  # a view with channels last
        y = F.conv2d(u, self.filter, self.offset, padding=self.kernel // 2, groups=len(self.filter))
        return self.output(y.movedim(1, -1).flatten(1, 2))
