"""Normalisation to one learned length."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Norm
from ..core.layout import Layout
from ..core.part import Config as Base


class Scale(Norm):
    """g x / max(||x||, eps), with one learned g for all channels, sqrt(width) at the start. Nguyen & Salazar 2019."""

    paper = "Nguyen & Salazar 2019, Transformers without tears"

    class Config(Base):
        eps: float = Field(1e-5, gt=0)

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.eps = c.eps
        self.g = nn.Parameter(torch.tensor(width**0.5))

    def forward(self, x: Tensor, at: Layout) -> Tensor:
        wide = at.clean(x).to(torch.promote_types(x.dtype, torch.float32))
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).clamp(min=self.eps)
        return (self.g * wide / length).to(x.dtype)
