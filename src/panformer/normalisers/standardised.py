"""Scores themselves as weights, brought to mean 0 and variance 1 over the visible keys."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Normaliser
from ..core.part import Config as Base


class Standardised(Normaliser):
    """(g_h (s_ij - mean_i) / sqrt(var_i + eps) + b_h) / n_i over the n_i keys that query i sees, g and b learned.

    Weights may be negative and need not sum to 1: no query is forced to take a mean of values. Richter & Wattenhofer
    2020, whose sum of values is a mean here, so that it stays of one order at any length.
    """

    paper = "Richter & Wattenhofer 2020, Normalized attention without probability cage"

    class Config(Base):
        eps: float = Field(1e-5, gt=0)

    def __init__(self, c: Config, heads: int) -> None:
        super().__init__(c, heads)
        self.eps = c.eps
        self.gain, self.offset = nn.Parameter(torch.ones(heads)), nn.Parameter(torch.ones(heads))

    def forward(self, score: Tensor, keep: Tensor, seen: Tensor) -> Tensor:
        score = score.masked_fill(~keep, 0)
        apart = (score - score.sum(-1, keepdim=True) / seen).masked_fill(~keep, 0)
        spread = apart.square().sum(-1, keepdim=True) / seen
        gain, offset = self.gain[:, None, None], self.offset[:, None, None]
        return (gain * apart * torch.rsqrt(spread + self.eps) + offset) / seen
