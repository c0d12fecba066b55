"""Pooling: every token becomes the mean of its neighbours, less itself."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Mixer
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.pool import mean_near


class Pool(Mixer):
    """mean of the window around a token - the token itself (the residual adds it back). Yu et al. 2021.

    Square windows on a lattice, else along the sequence; at borders the mean is over what is there.
    """

    paper = "Yu et al. 2021, MetaFormer is actually what you need for vision"
    examples = ({"size": 3}, {"size": 5})

    class Config(Base):
        size: int = Field(3, gt=0, description="odd: tokens of the window along each axis")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        if c.size % 2 == 0:
            raise InputError(f"pool: size must be odd, so that a window has a middle; got {c.size}")
        self.size = c.size

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        return mean_near(x, at, self.size) - x
