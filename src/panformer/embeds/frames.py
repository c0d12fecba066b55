"""Every time step is a token."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from ..core.families import linear
from ..core.layout import Layout
from ._finish import Ordered, laid
from ._series import Normalise, Series, check_channels


class Frames(Series):
    """A linear map of every time step: values (B, T, C) -> (B, T, D).

    `normalise: instance` scales each series by its own mean and deviation, which couples all of its steps.
    """

    paper = "Zerveas et al. 2021, A Transformer-based framework for multivariate time series representation learning"
    examples = ({"channels": 3}, {"channels": 3, "normalise": "instance", "position": "sinusoidal"})
    couples: Literal["sequence"] | None = None

    class Config(Ordered):
        channels: int = Field(1, gt=0)
        normalise: Normalise = "none"

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c, width)
        self.normalise, self.channels = c.normalise, c.channels
        self.couples = "sequence" if c.normalise == "instance" else None
        self.map = linear(c.channels, width)

    def forward(self, raw: Tensor, at: Layout | None = None) -> tuple[Tensor, Layout]:
        check_channels("frames", raw, self.channels)
        at = laid(raw, at)
        return self.finish(self.map(self.standard(raw, at)), at), at
