"""No mixing at all: the control that shows what mixing is worth."""

from __future__ import annotations

from torch import Tensor

from ..core.families import Mixer
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared


class Identity(Mixer):
    """y = x: every token keeps to itself. Yu et al. 2022, MetaFormer baselines for vision."""

    paper = "Yu et al. 2022, MetaFormer baselines for vision"
    causal = True

    class Config(Base):
        pass

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        return at.clean(x)

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, ...]:
        return ()

    def chunk(self, x, at, state, shared=None):
        return at.clean(x), state
