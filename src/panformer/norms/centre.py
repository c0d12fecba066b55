"""Vectors without their mean."""

from __future__ import annotations

from torch import Tensor

from ..core.families import Norm
from ..core.layout import Layout
from ..core.part import Config as Base


class Centre(Norm):
    """x - mean(x), over the width of one token: what a stream begins with that RMS norms are to read. Jiang et al. 2023."""

    paper = "Jiang et al. 2023, Pre-RMSNorm and Pre-CRMSNorm Transformers: equivalent and efficient Pre-LN Transformers"

    class Config(Base):
        pass

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, at: Layout) -> Tensor:
        x = at.clean(x)
        return x - x.mean(-1, keepdim=True)
