"""SiLU lifted above 0, brought to length 1."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ..core.families import Feature
from ..core.part import Config as Base


class ShiftedSilu(Feature):
    """f / |f| with f = silu(x) + 1/2, which is at least 0.22."""

    paper = "Afzal et al. 2025, Linear attention for efficient bidirectional sequence modeling"

    class Config(Base):
        pass

    def map(self, x: Tensor) -> Tensor:
        return F.normalize(F.silu(x) + 0.5, dim=-1)
