"""Root-mean-square normalisation."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import Norm
from ..core.layout import Layout
from ..core.part import Config as Base


class Rms(Norm):
    """x / sqrt(mean(x^2) + eps) * weight, over the width of one token. Zhang & Sennrich 2019."""

    paper = "Zhang & Sennrich 2019, Root mean square layer normalization"

    class Config(Base):
        eps: float = Field(1e-6, gt=0)

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.eps = c.eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, at: Layout) -> Tensor:
        return F.rms_norm(at.clean(x), self.weight.shape, self.weight, self.eps)
