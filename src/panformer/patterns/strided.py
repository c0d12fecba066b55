"""Strided sparse attention: the tokens just before, and every l-th token before."""

from __future__ import annotations

from pydantic import Field

from ..core.families import Pattern
from ..core.part import Config as Base
from ..core.sparse import Column, Near, Sparse


class Strided(Pattern):
    """i sees j where |i - j| < l, or where l divides i - j. Child et al. 2019, which sees back only.

    Heads take turns, the first sees what is near, the second the l-th tokens; `merged` lets every head see both. Two
    layers connect all pairs. Without a `stride`, l of token i is the least power of two whose square is above i, in
    place of one l near sqrt(n) for a known n: the same n sqrt(n) pairs, and earlier tokens see what they saw.
    """

    paper = "Child et al. 2019, Generating long sequences with sparse transformers"
    examples = ({}, {"stride": 3}, {"stride": 4, "merged": True})

    class Config(Base):
        stride: int | None = Field(None, gt=0, description="l; default: about the square root of the position")
        merged: bool = Field(False, description="every head sees both kinds")

    def __init__(self, c: Config, heads: int) -> None:
        super().__init__(c, heads)
        kinds = (Near(c.stride), Column(c.stride))
        turns = (kinds,) if c.merged else tuple((kind,) for kind in kinds)
        self.score = Sparse(tuple(turns[h % len(turns)] for h in range(heads)))
        self.growth = "n^1.5" if c.stride is None else "n^2"
