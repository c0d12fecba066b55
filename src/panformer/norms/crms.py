"""Root-mean-square normalisation of vectors whose last channel is left out."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Norm
from ..core.layout import Layout
from ..core.part import Config as Base
from ..ops.rms_norm import crms_norm


class Crms(Norm):
    """x / sqrt((sum x_i^2 + (sum x_i)^2) / (width + 1) + eps) * weight, over the width of one token.

    The RMS norm of x with one channel more, minus the sum of the others: of a vector with mean 0, kept in one number
    less. Jiang et al. 2023.
    """

    paper = "Jiang et al. 2023, Pre-RMSNorm and Pre-CRMSNorm Transformers: equivalent and efficient Pre-LN Transformers"
    examples = ({}, {"weight": False})

    class Config(Base):
        eps: float = Field(1e-5, gt=0)
        weight: bool = True

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.eps = c.eps
        self.weight = nn.Parameter(torch.ones(width)) if c.weight else None

    def forward(self, x: Tensor, at: Layout) -> Tensor:
        return crms_norm(at.clean(x), self.weight, self.eps)
