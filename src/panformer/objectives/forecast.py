"""Come close to the next steps of a series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from ..core.families import Objective
from ..core.layout import Layout
from ..core.part import Config as Base
from ._mean import error, mean


class Forecast(Objective):
    """(out - target)^2 or |out - target|, mean over series, steps and channels whose target is known.

    A target that is NaN is not known and does not count. raw is (input, target).
    """

    examples = ({}, {"kind": "mae"})

    class Config(Base):
        kind: Literal["mse", "mae"] = "mse"

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.kind = c.kind

    def corrupt(self, raw: tuple[Tensor, Tensor], at: Layout, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return raw

    def loss(self, out: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """out and target (N, horizon, C)."""
        known = ~target.isnan()
        off = error(out, torch.where(known, target, 0))
        return mean(off.square() if self.kind == "mse" else off.abs(), known)
