"""The own block, the one before, and earlier blocks at random."""

from __future__ import annotations

from pydantic import Field

from ..core.families import Pattern
from ..core.part import Config as Base
from ..core.sparse import Drawn as Chance
from ..core.sparse import Near, Sparse


class Drawn(Pattern):
    """i sees j where |i - j| < block, or where j is in one of `count` earlier blocks drawn for i's block and head.

    Draws depend on the seed, the head and the block alone; the random part of Zaheer et al. 2020.
    """

    paper = "Zaheer et al. 2020, Big Bird: transformers for longer sequences"
    examples = ({"block": 3}, {"block": 2, "count": 2, "seed": 1})

    class Config(Base):
        block: int = Field(gt=0, description="tokens per block")
        count: int = Field(1, gt=0, description="blocks drawn; one drawn twice counts once")
        seed: int = Field(0, ge=0, lt=2**20)

    def __init__(self, c: Config, heads: int) -> None:
        super().__init__(c, heads)
        near = Near(c.block)
        self.score = Sparse(tuple((near, Chance(c.block, c.count, c.seed * heads + h)) for h in range(heads)))
