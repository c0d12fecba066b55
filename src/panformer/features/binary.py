"""Binary codes that nothing learns: the signs of channels, or the sides of random planes."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.families import Feature
from ..core.part import Config as Base
from ._codes import lifted, signs


class Binary(Feature):
    """q^ . k^ + c, x^ = sign(x), c = 2^ceil(log2(b + 1)) for b bits, which keeps weights above 0.

    With `planes` the bits are the sides of that many random planes, x^ = sign(W x), W ~ N(0, I): codes agree the more,
    the smaller the angle (Charikar 2002). In training a sign has the slope of a clamp, else none.
    """

    paper = "Charikar 2002, Similarity estimation techniques from rounding algorithms"
    examples = ({}, {"planes": 6})
    w: Tensor | None  # (b, E)

    class Config(Base):
        planes: int | None = Field(None, gt=0, description="default: the channels themselves")

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__(c, heads, (c.planes or size) + 1)
        self.register_buffer("w", None if c.planes is None else torch.randn(c.planes, size))

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        if self.w is not None:
            q, k = q @ self.w.mT, k @ self.w.mT
        return lifted(signs(q, self.training), signs(k, self.training))
