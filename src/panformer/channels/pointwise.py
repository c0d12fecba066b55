"""One map over channels and an activation: a convolution of one cell."""

from __future__ import annotations

from torch import Tensor

from ..core.families import Channel, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.activations import Activation
from ..ops.maps import activated


class Pointwise(Channel):
    """act(w x + b), w square. In ConvMixer its answer takes the stream's place: `residual: replace`."""

    paper = "Trockman & Kolter 2022, Patches are all you need?"
    examples = ({}, {"activation": "relu2", "bias": False})

    class Config(Base):
        activation: Activation = "gelu"
        bias: bool = True

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.activation, self.map = c.activation, linear(width, width, c.bias)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        return activated(self.map, at.clean(x), self.activation)
