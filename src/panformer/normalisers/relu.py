"""ReLU in place of the softmax, divided by a power of how many keys are visible."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..core.families import Normaliser
from ..core.part import Config as Base


class Relu(Normaliser):
    """relu(s_ij) / n_i^alpha, n_i the number of keys that query i sees. Wortsman et al. 2023.

    With alpha 1 a sum of weights stays of one order at any length, as that of a softmax does; 0 divides by nothing.
    """

    paper = "Wortsman et al. 2023, Replacing softmax with ReLU in vision transformers"
    examples = ({}, {"alpha": 0.5})

    class Config(Base):
        alpha: float = Field(1.0, ge=0)

    def __init__(self, c: Config, heads: int) -> None:
        super().__init__(c, heads)
        self.alpha = c.alpha

    def forward(self, score: Tensor, keep: Tensor, seen: Tensor) -> Tensor:
        return F.relu(score) / seen**self.alpha
