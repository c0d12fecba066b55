"""A window, and first tokens that see all and are seen by all."""

from __future__ import annotations

from pydantic import Field

from ..core.families import Pattern
from ..core.part import Config as Base
from ..core.sparse import First as Ends
from ..core.sparse import Near, Sparse


class First(Pattern):
    """i sees j where |i - j| < window, or where one of the two is among the first `tokens`. Beltagy et al. 2020."""

    paper = "Beltagy et al. 2020, Longformer: the long-document transformer"
    examples = ({"window": 3, "tokens": 2},)

    class Config(Base):
        window: int = Field(gt=0, description="tokens visible on each side, itself included")
        tokens: int = Field(1, gt=0, description="first tokens that see all and are seen by all")

    def __init__(self, c: Config, heads: int) -> None:
        super().__init__(c, heads)
        self.score = Sparse(((Near(c.window), Ends(c.tokens)),) * heads)
