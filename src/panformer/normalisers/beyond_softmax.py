"""Softmax whose scores grow with the logarithm of length beyond the length that was trained."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor

from ..core.families import Normaliser
from ..core.part import Config as Base
from ..ops.weigh import softmax


class BeyondSoftmax(Normaliser):
    """softmax(a_i s)_ij, a_i = 1 + strength log(n_i / trained) / log(trained) where n_i > trained, else 1.

    n_i is the number of keys that query i sees. With strength 1 that is log(n_i) / log(trained); up to the trained
    length it is plain softmax, so it may be put in place of one after training. Puvvada et al. 2025 scale by the
    logarithm of length in reading alone; Chiang & Cholak 2022 is the scale of strength 1.
    """

    paper = "Puvvada et al. 2025, SWAN-GPT: an efficient and scalable approach for long-context language modeling"
    examples = ({"trained": 6}, {"trained": 4, "strength": 0.5})

    class Config(Base):
        trained: int = Field(gt=1, description="keys up to which nothing changes")
        strength: float = Field(1.0, ge=0)

    def __init__(self, c: Config, heads: int) -> None:
        super().__init__(c, heads)
        self.trained, self.strength = c.trained, c.strength

    def forward(self, score: Tensor, keep: Tensor, seen: Tensor) -> Tensor:
        further = (seen.log() - math.log(self.trained)).clamp(min=0)
        return softmax((1 + self.strength / math.log(self.trained) * further) * score, keep)
