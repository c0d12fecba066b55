"""A learned map and its mirror image, under an exponential."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Feature
from ..core.part import Config as Base


class Hedgehog(Feature):
    """softmax([W x + b, -(W x + b)]) over the 2 M channels, with W and b of each head's queries and keys apart.

    `form: exp` leaves out the softmax's denominator, so that a key's weight may grow with its length. W starts as the
    identity. It is made to mimic softmax attention: see `train.mimic`. Zhang et al. 2024.
    """

    paper = "Zhang et al. 2024, The Hedgehog and the Porcupine: expressive linear attentions with softmax mimicry"
    examples = ({}, {"count": 3, "form": "exp"})

    class Config(Base):
        count: int | None = Field(None, gt=0, description="rows M of W; default: the head width")
        form: Literal["softmax", "exp"] = "softmax"

    def __init__(self, c: Config, heads: int, size: int) -> None:
        count = c.count or size
        super().__init__(c, heads, 2 * count)
        self.form = c.form
        self.w = nn.Parameter(torch.eye(size, count).repeat(2, heads, 1, 1))  # queries, keys
        self.b = nn.Parameter(torch.zeros(2, heads, 1, count))

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return self._spread(q @ self.w[0] + self.b[0]), self._spread(k @ self.w[1] + self.b[1])

    def _spread(self, y: Tensor) -> Tensor:
        y = torch.cat([y, -y], -1)
        return y.softmax(-1) if self.form == "softmax" else y.exp()
