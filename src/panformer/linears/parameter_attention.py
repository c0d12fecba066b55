"""A linear map's place taken by attention over learned tokens."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import Linear
from ..core.part import Config as Base
from ._dense import room


class ParameterAttention(Linear):
    """V' gelu(tau a / |a|) + b with a = K x: K (tokens, inputs) and V (tokens, outputs) are the learned tokens.

    |a| is taken over the tokens, so one whose key is zero answers nothing and changes nobody's share: `grow` appends
    such tokens, and the function stays as it was as long as tau does. `tau` is sqrt(tokens) by default. Of the map it
    replaces it keeps the offset alone. `weigh: softmax` is the usual attention, which growing disturbs.
    Wang et al. 2024, TokenFormer.
    """

    paper = "Wang et al. 2024, TokenFormer: rethinking Transformer scaling with tokenized model parameters"
    learns = True
    examples = ({"tokens": 12}, {"tokens": 5, "tau": 3.0}, {"tokens": 6, "weigh": "softmax"})

    class Config(Base):
        tokens: int = Field(gt=0)
        tau: float | None = Field(None, gt=0, description="default: sqrt(tokens)")
        weigh: Literal["gelu", "softmax"] = "gelu"

    def __init__(self, c: Config, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.tau, self.weigh = c.tau or c.tokens**0.5, c.weigh
        self.keys = nn.Parameter(torch.randn(c.tokens, inputs) * inputs**-0.5)
        self.values = nn.Parameter(torch.randn(c.tokens, outputs) * c.tokens**-0.5)
        self.bias = room(outputs, bias)

    def take(self, plain: nn.Linear) -> None:
        self.bias = plain.bias

    def forward(self, x: Tensor) -> Tensor:
        score = F.linear(x, self.keys)
        if self.weigh == "softmax":
            weight = score.softmax(-1)
        else:
            weight = F.gelu(self.tau * F.normalize(score, dim=-1))
        return F.linear(weight, self.values.t(), self.bias)
