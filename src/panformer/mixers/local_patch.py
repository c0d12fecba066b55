"""Talk between neighbouring cells: two depthwise convolutions with an activation and a norm over the batch between."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from ..core.families import Mixer
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.activations import ACTIVATIONS, Activation
from ._cells import odd, on_cells


class LocalPatch(Mixer):
    """conv_2(norm(act(conv_1 x))), each channel alone over kernel x kernel cells. El-Nouby et al. 2021, XCiT's LPI.

    The norm is over the batch: in evaluation its mean and variance are those that training has seen. Tokens before the
    lattice, such as a class token, answer 0.
    """

    paper = "El-Nouby et al. 2021, XCiT: cross-covariance image transformers"
    lattice = True
    examples = ({"kernel": 3}, {"kernel": 5, "activation": "relu"})

    class Config(Base):
        kernel: int = Field(3, gt=0, description="odd: cells seen along each axis")
        activation: Activation = "gelu"

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.act, side = ACTIVATIONS[c.activation], odd(c.kernel, "local_patch")
        self.first, self.second = (nn.Conv2d(width, width, side, padding=side // 2, groups=width) for _ in range(2))
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        return on_cells(x, at, "local_patch", self._twice)

    def _twice(self, cells: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D, h, w)."""
        near = self.act(self.first(cells))
        near = self.norm(near.flatten(2)).view(near.shape)  # over batch and cells
        return self.second(near)
