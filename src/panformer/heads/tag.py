"""One class per token."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..core.families import Head, linear
from ..core.layout import Layout
from ..core.part import Config as Base


class Tag(Head):
    """out(x): logits (B, T, classes). Devlin et al. 2018."""

    paper = "Devlin et al. 2018, BERT"
    examples = ({"classes": 3},)

    class Config(Base):
        classes: int = Field(gt=0)
        dropout: float = Field(0.0, ge=0, lt=1)

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.dropout = c.dropout
        self.out = linear(width, c.classes)

    def forward(self, x: Tensor, at: Layout, tied: Tensor | None = None) -> Tensor:
        return self.out(F.dropout(at.clean(x), self.dropout, self.training))
