"""Features of signed powers, which a long query makes spiky."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..core.families import Feature
from ..core.part import Config as Base


class NormAware(Feature):
    """phi(q) = [relu(u)^p, relu(-u)^p], u = q / |q|, p = power (1/2 + tanh |q|); phi(k) = [relu(k)^power, relu(-k)^power].

    A quotient of sums would cancel the length of a query; here the longer it is the spikier are its weights, as under a
    softmax. Numbers of opposite signs do not meet, so no weight is below 0. Meng et al. 2025, as in their code of 2026,
    power 3; `rope` at the mixer is what that code adds. Its layer also has a gate, a norm and a convolution, which are
    no part of a feature.
    """

    paper = "Meng et al. 2025, NaLaFormer: norm-aware linear attention for Transformer models"
    examples = ({}, {"power": 2.0})

    class Config(Base):
        power: float = Field(3.0, ge=2, description="of keys; a query's lies between half and one and a half of it")

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__(c, heads, 2 * size)
        self.power = c.power

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        power = self.power * (0.5 + torch.linalg.vector_norm(q, dim=-1, keepdim=True).tanh())
        return _halves(F.normalize(q, dim=-1)) ** power, _halves(k) ** self.power


def _halves(x: Tensor) -> Tensor:
    return F.relu(torch.cat([x, -x], -1))
