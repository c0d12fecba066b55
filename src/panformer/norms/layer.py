"""Layer normalisation."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import Norm
from ..core.layout import Layout
from ..core.part import Config as Base


class Layer(Norm):
    """(x - mean) / sqrt(variance + eps) * weight + bias, over the width of one token. Ba et al. 2016."""

    paper = "Ba et al. 2016, Layer normalization"
    examples = ({}, {"bias": False})

    class Config(Base):
        eps: float = Field(1e-5, gt=0)
        bias: bool = True

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.eps = c.eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if c.bias else None

    def forward(self, x: Tensor, at: Layout) -> Tensor:
        return F.layer_norm(at.clean(x), self.weight.shape, self.weight, self.bias, self.eps)
