"""Numbers per sequence."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..core.families import Head, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..ops.segment import Pool, pool


class Regress(Head):
    """out(pool(x)): (N,) for one output, else (N, outputs)."""

    pools: ClassVar[bool] = True
    examples = ({}, {"outputs": 3, "pool": "last"})

    class Config(Base):
        outputs: int = Field(1, gt=0)
        pool: Pool = "mean"
        dropout: float = Field(0.0, ge=0, lt=1)

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.pool, self.outputs, self.dropout = c.pool, c.outputs, c.dropout
        self.out = linear(width, c.outputs)

    def forward(self, x: Tensor, at: Layout, tied: Tensor | None = None) -> Tensor:
        y = self.out(F.dropout(pool(at.clean(x), at, self.pool), self.dropout, self.training))
        return y[:, 0] if self.outputs == 1 else y
