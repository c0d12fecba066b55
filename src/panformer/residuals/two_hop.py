"""Sublayers that read each other, while the stream goes past all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ..core.families import Branch, Normal, Residual, whole
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..ops.dropout import dropout


class TwoHop(Residual):
    """h <- x + f(norm(h)) for each branch in turn, from h = x: what branches add does not pile up within a layer.

    With two branches y = x + g(norm(x + f(norm(x)))). `later` is the norm of the branches after the first, where it is
    not the layer's. Ma et al. 2024.
    """

    paper = "Ma et al. 2024, Megalodon: efficient LLM pretraining and inference with unlimited context length"
    examples = ({}, {"later": "rms"})

    class Config(Base):
        later: Annotated[Base | None, Slot("norms")] = Field(None, description="default: the layer's norm")
        dropout: float = Field(0.0, ge=0, lt=1, description="of what a branch adds")

    def __init__(self, c: Config, width: int, norm: Base, branches: int) -> None:
        super().__init__(c, width, norm, branches)
        self.dropout, later = c.dropout, c.later or norm
        self.norms = nn.ModuleList((later if i else norm).build(width) for i in range(branches))

    def forward(self, x: Tensor, at: Layout, branches: Sequence[Branch], normal: Normal = whole) -> Tensor:
        h = x
        for norm, branch in zip(self.norms, branches, strict=True):
            h = x + dropout(branch(normal(norm, h, at)), self.dropout, self.training)
        return h
