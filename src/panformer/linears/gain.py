"""A linear map that begins larger or smaller than others."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import Linear, linear
from ..core.part import Config as Base
from ._dense import room


class Gain(Linear):
    """W x + b, W at the start `by` times that of the map which it replaces: a first variance of by^2 / inputs.

    So a spec says how maps are drawn, wherever they stand. Glorot & Bengio 2010.
    """

    paper = "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks"
    learns = True
    examples = ({}, {"by": 0.25})

    class Config(Base):
        by: float = Field(1.0, gt=0)

    def __init__(self, c: Config, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.by = c.by
        self.weight = nn.Parameter(c.by * linear(inputs, outputs, False).weight.detach())
        self.bias = room(outputs, bias)

    def take(self, plain: nn.Linear) -> None:
        with torch.no_grad():
            self.weight, self.bias = nn.Parameter(self.by * plain.weight), plain.bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)
