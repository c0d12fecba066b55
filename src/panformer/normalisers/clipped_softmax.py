"""A softmax stretched beyond 0 and 1 and cut off there, so that a finite score gives a weight of exactly 0."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..core.families import Normaliser
from ..core.part import Config as Base
from ..ops.weigh import softmax


class ClippedSoftmax(Normaliser):
    """clip((zeta - gamma) softmax(s)_ij + gamma, 0, 1), gamma <= 0 and zeta >= 1. Bondarenko et al. 2023.

    A weight that is cut off has no gradient, so that no score has to grow any further. `alpha` sets gamma to
    -alpha / n_i, n_i the number of keys that query i sees, which suits all lengths alike: a weight under
    alpha / (n_i + alpha), with zeta 1, is 0.
    """

    paper = "Bondarenko et al. 2023, Quantizable Transformers: removing outliers by helping attention heads do nothing"
    examples = ({"gamma": -0.03}, {"gamma": -0.1, "zeta": 1.05}, {"alpha": 0.7})

    class Config(Base):
        gamma: float = Field(0.0, le=0)
        zeta: float = Field(1.0, ge=1)
        alpha: float = Field(0.0, ge=0, description="further -alpha / n to gamma")

    def __init__(self, c: Config, heads: int) -> None:
        super().__init__(c, heads)
        self.gamma, self.zeta, self.alpha = c.gamma, c.zeta, c.alpha

    def forward(self, score: Tensor, keep: Tensor, seen: Tensor) -> Tensor:
        gamma = self.gamma - self.alpha / seen
        return ((self.zeta - gamma) * softmax(score, keep) + gamma).clamp(0, 1)
