"""Sublayers that take a fixed share of the stream's variance, and leave its size as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from ..core.families import Branch, Normal, Residual, whole
from ..core.layout import Layout
from ..core.part import Config as Base
from ..ops.dropout import dropout


class DeepScale(Residual):
    """x <- lambda x + beta f(norm(x)) for each branch in turn, beta^2 = share, lambda^2 = 1 - share. Kedia et al. 2024.

    A share of k / N, for N layers and k near 1, keeps most of the stream through all of them. Branches should answer
    with variance 1: `panformer.train.deep_scale` draws their maps so. With `carries: norm` the stream is normalised
    too, lambda norm(x) + beta f(norm(x)): Post-LN, with a norm of the embedded tokens and the trunk's at the end.
    """

    paper = "Kedia et al. 2024, Transformers get stable: an end-to-end signal propagation theory for language models"
    examples = ({}, {"share": 0.2, "carries": "norm"})

    class Config(Base):
        share: float = Field(0.01, gt=0, lt=1, description="beta squared, k / layers")
        carries: Literal["stream", "norm"] = "stream"
        dropout: float = Field(0.0, ge=0, lt=1, description="of what a branch adds")

    def __init__(self, c: Config, width: int, norm: Base, branches: int) -> None:
        super().__init__(c, width, norm, branches)
        self.keep, self.add = (1 - c.share) ** 0.5, c.share**0.5
        self.carries, self.dropout = c.carries, c.dropout
        self.norms = nn.ModuleList(norm.build(width) for _ in range(branches))

    def forward(self, x: Tensor, at: Layout, branches: Sequence[Branch], normal: Normal = whole) -> Tensor:
        for norm, branch in zip(self.norms, branches, strict=True):
            seen = normal(norm, x, at)
            kept = x if self.carries == "stream" else seen
            x = self.keep * kept + dropout(self.add * branch(seen), self.dropout, self.training)
        return x
