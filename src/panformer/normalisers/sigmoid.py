"""A sigmoid in place of the softmax: every key is weighed alone."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..core.families import Normaliser
from ..core.part import Config as Base


class Sigmoid(Normaliser):
    """sigmoid(s_ij - log n_i + offset), n_i the number of keys that query i sees. Ramapuram et al. 2024.

    A score of 0 then weighs about 1 / n_i, as it does under a softmax of equal scores. The paper takes the length that
    is trained on for n.
    """

    paper = "Ramapuram et al. 2024, Theory, analysis, and best practices for sigmoid self-attention"
    examples = ({}, {"offset": 0.5})

    class Config(Base):
        offset: float = Field(0.0, description="added to every score")

    def __init__(self, c: Config, heads: int) -> None:
        super().__init__(c, heads)
        self.offset = c.offset

    def forward(self, score: Tensor, keep: Tensor, seen: Tensor) -> Tensor:
        return (score - seen.log() + self.offset).sigmoid()
