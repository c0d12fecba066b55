"""Where an answer starts and where it ends."""

from __future__ import annotations

from torch import Tensor

from ..core.families import Head, linear
from ..core.layout import Layout
from ..core.part import Config as Base


class Span(Head):
    """out(x): logits (B, T, 2) of being the first and the last token of the answer. Devlin et al. 2018."""

    paper = "Devlin et al. 2018, BERT"

    class Config(Base):
        pass

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.out = linear(width, 2)

    def forward(self, x: Tensor, at: Layout, tied: Tensor | None = None) -> Tensor:
        return self.out(at.clean(x))
