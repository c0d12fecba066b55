"""Sublayers with a norm before and a norm after."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import Branch, Normal, Residual, whole
from ..core.layout import Layout
from ..core.part import Config as Base


class Sandwich(Residual):
    """x <- x + after(f(norm(x))) for each branch in turn: what a branch adds has a known size. Ding et al. 2021."""

    paper = "Ding et al. 2021, CogView: mastering text-to-image generation via Transformers"

    class Config(Base):
        dropout: float = Field(0.0, ge=0, lt=1, description="of what a branch adds")

    def __init__(self, c: Config, width: int, norm: Base, branches: int) -> None:
        super().__init__(c, width, norm, branches)
        self.dropout = c.dropout
        self.norms = nn.ModuleList(norm.build(width) for _ in range(branches))
        self.after = nn.ModuleList(norm.build(width) for _ in range(branches))

    def forward(self, x: Tensor, at: Layout, branches: Sequence[Branch], normal: Normal = whole) -> Tensor:
        for norm, after, branch in zip(self.norms, self.after, branches, strict=True):
            x = x + F.dropout(normal(after, branch(normal(norm, x, at)), at), self.dropout, self.training)
        return x
