"""Come close to a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..core.families import Objective
from ..core.layout import Layout
from ..core.part import Config as Base
from ._mean import error, mean


class Regress(Objective):
    """(out - target)^2 (`mse`), |out - target| (`mae`), or `huber`: half the square up to `delta`, then linear.

    Mean over sequences and outputs. raw is (input, target). Huber 1964.
    """

    examples = ({}, {"kind": "mae"}, {"kind": "huber", "delta": 0.5})

    class Config(Base):
        kind: Literal["mse", "mae", "huber"] = "mse"
        delta: float = Field(1.0, gt=0, description="where huber turns linear, in units of the target")

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.kind, self.delta = c.kind, c.delta

    def corrupt(self, raw: tuple[Tensor, Tensor], at: Layout, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return raw

    def loss(self, out: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """out and target alike: (N,) or (N, outputs)."""
        off = error(out, target)
        if self.kind == "huber":
            return mean(F.huber_loss(off, torch.zeros_like(off), reduction="none", delta=self.delta))
        return mean(off.square() if self.kind == "mse" else off.abs())
