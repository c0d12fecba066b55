"""ConvMixer's spatial mixing: one depthwise convolution over the cells and an activation."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Mixer
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.activations import ACTIVATIONS, Activation
from ..ops.lattice import lattice


class ConvMixer(Mixer):
    """act(conv x), each channel alone over kernel x kernel cells, zeros beyond the border. Trockman & Kolter 2022.

    Tokens before the lattice, such as a class token, answer 0. The paper's block is this and the channel `pointwise`
    under `residual: replace` and `norm: batch`.
    """

    paper = "Trockman & Kolter 2022, Patches are all you need?"
    lattice = True
    examples = ({"kernel": 3}, {"kernel": 5, "activation": "relu"})

    class Config(Base):
        kernel: int = Field(9, gt=0, description="odd: cells seen along each axis")
        activation: Activation = "gelu"

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        if c.kernel % 2 == 0:
            raise InputError(f"conv_mixer: kernel must be odd, so that a cell is in its middle; got {c.kernel}")
        self.act = ACTIVATIONS[c.activation]
        self.conv = nn.Conv2d(width, width, c.kernel, padding=c.kernel // 2, groups=width)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        count, grid = lattice(at, "conv_mixer")
        if len(grid) != 2:
            raise InputError("conv_mixer: needs tokens on a lattice of two axes")
        near = self.act(self.conv(x[:, count:].mT.unflatten(2, grid))).flatten(2).mT
        return torch.cat([torch.zeros_like(x[:, :count]), near], 1)
