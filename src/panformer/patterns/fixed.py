"""Fixed sparse attention: the own block, and the last tokens of every block."""

from __future__ import annotations

from pydantic import Field

from ..core.families import Pattern
from ..core.part import Config as Base
from ..core.sparse import Block, Marks, Sparse


class Fixed(Pattern):
    """i sees j in its block of l tokens, or where j is among the last `marks` of any block. Child et al. 2019.

    Heads take turns, the first sees its block, the second the marks; `merged` lets every head see both. The marks must
    gather what their block knows: two layers connect all pairs then. Without a `stride`, l of token i is the least
    power of two whose square is above i, as in `strided`.
    """

    paper = "Child et al. 2019, Generating long sequences with sparse transformers"
    examples = ({}, {"stride": 5, "marks": 2}, {"stride": 4, "merged": True})

    class Config(Base):
        stride: int | None = Field(None, gt=0, description="l; default: about the square root of the position")
        marks: int = Field(1, gt=0, description="last tokens of a block that later ones see")
        merged: bool = Field(False, description="every head sees both kinds")

    def __init__(self, c: Config, heads: int) -> None:
        super().__init__(c, heads)
        kinds = (Block(c.stride), Marks(c.stride, c.marks))
        turns = (kinds,) if c.merged else tuple((kind,) for kind in kinds)
        self.score = Sparse(tuple(turns[h % len(turns)] for h in range(heads)))
        self.growth = "n^1.5" if c.stride is None else "n^2"
