"""No positions at all."""

from __future__ import annotations

from ..core.families import Position
from ..core.part import Config as Base


class NoPosition(Position):
    """x. A causal mixer still learns where it is from how much it can see. Haviv et al. 2022."""

    paper = "Haviv et al. 2022, Transformer language models without positional encodings"
    kind = "none"

    class Config(Base):
        pass

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__()
