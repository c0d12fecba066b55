"""Sublayers that read a normalised copy of the stream."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor, nn

from ..core.families import Branch, Normal, Residual, whole
from ..core.layout import Layout
from ..core.part import Config as Base
from ..ops.dropout import dropout


class Pre(Residual):
    """x <- x + f(norm(x)) for each branch in turn. Xiong et al. 2020."""

    paper = "Xiong et al. 2020, On layer normalization in the Transformer architecture"

    class Config(Base):
        dropout: float = Field(0.0, ge=0, lt=1, description="of what a branch adds")

    def __init__(self, c: Config, width: int, norm: Base, branches: int) -> None:
        super().__init__(c, width, norm, branches)
        self.dropout = c.dropout
        self.norms = nn.ModuleList(norm.build(width) for _ in range(branches))

    def forward(self, x: Tensor, at: Layout, branches: Sequence[Branch], normal: Normal = whole) -> Tensor:
        for norm, branch in zip(self.norms, branches, strict=True):
            x = x + dropout(branch(normal(norm, x, at)), self.dropout, self.training)
        return x
