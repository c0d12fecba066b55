"""Fourier mixing: no parameters, every token is a fixed sum of all."""

from __future__ import annotations

from torch import Tensor

from ..core.families import Mixer
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.fourier import fourier


class Fourier(Mixer):
    """Re(F_T x F_D), Fourier transforms along tokens and channels, unscaled. Lee-Thorp et al. 2021, FNet."""

    paper = "Lee-Thorp et al. 2021, FNet: mixing tokens with Fourier transforms"
    growth = "n log n"

    class Config(Base):
        pass

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        return fourier(at.clean(x), at)
