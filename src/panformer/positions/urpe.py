"""A learned number per distance that multiplies the weights after the softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Position
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.score import Score, distance
from ._relative import once


class Urpe(Position):
    """softmax(s)_ij c_{i-j}, c_0 .. c_{+-reach} learned per head, 1 at the start; further keys have c_{+-reach}.

    The weights of a softmax sum to 1, so that over equal tokens their mean is the same wherever a query stands,
    whatever distances do to the scores; here the sum tells the place. `inside` is what distances do to the scores.
    Luo et al. 2022.
    """

    paper = "Luo et al. 2022, Your transformer may not be as powerful as you expect"
    kind = "factor"
    examples = (
        {"reach": 8},
        {"reach": 5, "inside": {"use": "t5", "buckets": 8, "reach": 12}},
        {"reach": 5, "inside": "rope"},
    )

    class Config(Base):
        reach: int = Field(128, gt=0, description="distance from which all share a number, on each side")
        inside: Annotated[Base | None, Slot("positions")] = Field(None, description="a position before the softmax")

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__()
        if c.inside is not None and c.inside.part.kind not in ("bias", "rotate"):
            raise InputError(f"urpe: {c.inside.part.use()!r} cannot stand inside; it takes biases and rotations")
        self.table = nn.Parameter(torch.ones(2 * c.reach + 1, heads))
        self.inside: Position | None = c.inside.build(heads, size) if c.inside is not None else None

    def rotate(self, x: Tensor, at: Layout) -> Tensor:
        return x if self.inside is None else self.inside.rotate(x, at)

    def bias(self) -> Score | None:
        return None if self.inside is None else self.inside.bias()

    def factor(self) -> Score:
        return Toeplitz(self.table)


@dataclass(frozen=True, eq=False)
class Toeplitz(Score):
    """A number per head and distance: table (2 reach + 1, H), that of distance 0 in the middle."""

    relative = True
    table: Tensor

    def value(self, q: Layout, k: Layout) -> Tensor:
        reach = len(self.table) // 2
        apart = distance(*once(q, k))[:, 0].clamp(-reach, reach)
        return F.embedding(apart + reach, self.table).permute(0, 3, 1, 2)
