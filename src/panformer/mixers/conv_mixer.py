"""ConvMixer's spatial mixing: one depthwise convolution over the cells and an activation."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from ..core.families import Mixer
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.activations import ACTIVATIONS, Activation
from ._cells import odd, on_cells


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
        self.act, side = ACTIVATIONS[c.activation], odd(c.kernel, "conv_mixer")
        self.conv = nn.Conv2d(width, width, side, padding=side // 2, groups=width)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        return on_cells(x, at, "conv_mixer", lambda cells: self.act(self.conv(cells)))
