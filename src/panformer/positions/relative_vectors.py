"""A learned vector per distance, which queries meet as they meet keys."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Position
from ..core.layout import Layout
from ..core.part import Config as Base
from ..ops.relative_logits import relative_logits
from ._relative import once


class RelativeVectors(Position):
    """q_i . r_{i-j} / sqrt(E), r (H, distances, E) learned: a query weighs distances by what it looks for.

    Distances past `reach` share a vector. `two_sided` has vectors for keys after the query too; without it those get
    nothing. Shaw et al. 2018, with a table for every head and computed by the skew, as Huang et al. 2018 do it.
    """

    paper = "Huang et al. 2018, Music transformer: generating music with long-term structure"
    kind = "context"
    common = False
    examples = ({"reach": 6}, {"reach": 6, "two_sided": True}, {"reach": 64, "two_sided": True})

    class Config(Base):
        reach: int = Field(128, gt=0, description="distance from which all share a vector, on each side")
        two_sided: bool = False

    def __init__(self, c: Config, heads: int, size: int, width: int) -> None:
        super().__init__()
        self.two_sided = c.two_sided
        self.table = nn.Parameter(torch.empty(heads, (2 if c.two_sided else 1) * c.reach + 1, size))
        nn.init.normal_(self.table, std=size**-0.5)

    def context(self, q: Tensor, k: Tensor, marks: Tensor | None, q_at: Layout, k_at: Layout) -> Tensor:
        return relative_logits(q, self.table, *once(q_at, k_at), self.two_sided)
