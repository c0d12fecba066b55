"""Softmax whose scores grow with the logarithm of how many keys are visible."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.families import Normaliser
from ..core.part import Config as Base
from ..ops.weigh import softmax


class LengthSoftmax(Normaliser):
    """softmax(a_h log(n_i) s)_ij, n_i the number of keys that query i sees, a learned, 0.43 at first. Nakanishi 2025.

    A temperature that falls with length keeps the largest weight from fading as keys are added.
    """

    paper = "Nakanishi 2025, Scalable-softmax is superior for attention"

    class Config(Base):
        pass

    def __init__(self, c: Config, heads: int) -> None:
        super().__init__(c, heads)
        self.scale = nn.Parameter(torch.full((heads,), 0.43))

    def forward(self, score: Tensor, keep: Tensor, seen: Tensor) -> Tensor:
        return softmax(self.scale[:, None, None] * seen.log() * score, keep)
