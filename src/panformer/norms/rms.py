"""Root-mean-square normalisation."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Norm
from ..core.layout import Layout
from ..core.part import Config as Base
from ..ops.rms_norm import rms_norm


class Rms(Norm):
    """x / sqrt(mean(x^2) + eps) * (offset + weight), over the width of one token.

    With `offset` 1 the weight starts at 0, so that weight decay pulls the factor to 1 (Gemma). Zhang & Sennrich 2019.
    """

    paper = "Zhang & Sennrich 2019, Root mean square layer normalization"
    examples = ({}, {"offset": 1.0})

    class Config(Base):
        eps: float = Field(1e-6, gt=0)
        offset: float = Field(0.0, description="added to the weight, which starts at 1 - offset")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.eps, self.offset = c.eps, c.offset
        self.weight = nn.Parameter(torch.full((width,), 1.0 - c.offset))

    def forward(self, x: Tensor, at: Layout) -> Tensor:
        weight = self.weight if self.offset == 0 else self.offset + self.weight
        return rms_norm(at.clean(x), weight, self.eps)
