"""Sublayers whose answers start small and grow by a learned factor per channel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import Branch, Normal, Residual, whole
from ..core.layout import Layout
from ..core.part import Config as Base


class Scale(Residual):
    """x <- x + gamma * f(norm(x)) for each branch in turn, gamma one number per channel. Touvron et al. 2021, CaiT."""

    paper = "Touvron et al. 2021, Going deeper with image Transformers"

    class Config(Base):
        init: float = Field(1e-5, description="gamma at the start")
        dropout: float = Field(0.0, ge=0, lt=1, description="of what a branch adds")

    def __init__(self, c: Config, width: int, norm: Base, branches: int) -> None:
        super().__init__(c, width, norm, branches)
        self.dropout = c.dropout
        self.norms = nn.ModuleList(norm.build(width) for _ in range(branches))
        self.gamma = nn.ParameterList(nn.Parameter(torch.full((width,), c.init)) for _ in range(branches))

    def forward(self, x: Tensor, at: Layout, branches: Sequence[Branch], normal: Normal = whole) -> Tensor:
        for norm, gamma, branch in zip(self.norms, self.gamma, branches, strict=True):
            x = x + F.dropout(gamma * branch(normal(norm, x, at)), self.dropout, self.training)
        return x
