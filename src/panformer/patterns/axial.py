"""Axial attention over rows and columns of a lattice that is written as one sequence."""

from __future__ import annotations

from pydantic import Field

from ..core.families import Pattern
from ..core.part import Config as Base
from ..core.sparse import Block, Column, Sparse


class Axial(Pattern):
    """Heads take turns: i sees its row of `row` tokens, or its column, the tokens whole rows away. Ho et al. 2019."""

    paper = "Ho et al. 2019, Axial attention in multidimensional transformers"
    growth = "n^2"  # columns grow with the number of rows
    examples = ({"row": 3},)

    class Config(Base):
        row: int = Field(gt=0, description="tokens in a row")

    def __init__(self, c: Config, heads: int) -> None:
        super().__init__(c, heads)
        kinds = (Block(c.row), Column(c.row))
        self.score = Sparse(tuple((kinds[h % 2],) for h in range(heads)))
