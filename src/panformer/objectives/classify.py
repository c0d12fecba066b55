"""Name the right class."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from ..core.families import Objective
from ..core.layout import Layout
from ..core.part import Config as Base
from ._mean import cross_entropy


class Classify(Objective):
    """-log p(class), mean over sequences, or over tokens; `smoothing` s takes (1 - s) of it and s of the mean over
    all classes. raw is (input, class), class -100 is not asked for. Szegedy et al. 2015 (smoothing).
    """

    examples = ({}, {"smoothing": 0.1})

    class Config(Base):
        smoothing: float = Field(0.0, ge=0, lt=1)

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.smoothing = c.smoothing

    def corrupt(self, raw: tuple[Tensor, Tensor], at: Layout, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return raw

    def loss(self, out: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """out (N, classes) and target (N,), or (B, T, classes) and (B, T)."""
        return cross_entropy(out, target, self.smoothing)
