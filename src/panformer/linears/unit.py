"""A linear map made of vectors of length 1."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import Linear, linear
from ..core.part import Config as Base
from ._dense import room


class Unit(Linear):
    """s * W x + b, every row of W of length 1, or every column with `along: outputs`. Loshchilov et al. 2024, nGPT.

    W is brought to that length at the start and after every step of the optimiser, not in between. `scale` is s at the
    start, learned for each output; null: no s. s = scale * pace * a, and a = 1 / pace at the start, so that a step of
    Adam moves s `pace` times as far.
    """

    paper = "Loshchilov et al. 2024, nGPT: normalized Transformer with representation learning on the hypersphere"
    learns = True
    undecayed = ("weight",)
    examples = ({}, {"along": "outputs", "scale": 2.0, "pace": 4.0})

    class Config(Base):
        along: Literal["inputs", "outputs"] = "inputs"  # what the vectors of length 1 run over
        scale: float | None = Field(None, gt=0, description="of every output at the start")
        pace: float = Field(1.0, gt=0, description="how much further than its stored number the scale moves")

    def __init__(self, c: Config, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.axis = -1 if c.along == "inputs" else 0
        self.factor = (c.scale or 1.0) * c.pace
        self.weight = linear(inputs, outputs, False).weight
        self.a = nn.Parameter(torch.full((outputs,), 1 / c.pace)) if c.scale is not None else None
        self.bias = room(outputs, bias)
        self.after_step()

    @torch.no_grad()
    def after_step(self) -> None:
        self.weight.copy_(F.normalize(self.weight, dim=self.axis))

    def take(self, plain: nn.Linear) -> None:
        self.weight, self.bias = nn.Parameter(plain.weight.detach().clone()), plain.bias
        self.after_step()

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight)
        y = y if self.a is None else self.factor * self.a * y
        return y if self.bias is None else y + self.bias
