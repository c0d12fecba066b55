"""Sublayers that move the stream over a sphere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import Branch, Normal, Residual, whole
from ..core.layout import Layout
from ..core.part import Config as Base


class Hypersphere(Residual):
    """x <- N(x + alpha (N(f(x)) - x)) for each branch in turn, N(y) = y / |y|. Loshchilov et al. 2024, nGPT.

    alpha is learned per channel, `step` at the start. It is step * pace * a with a = 1 / pace at the start, so that
    Adam moves it `pace` times as far, by default sqrt(width). Norms of the layer have no place here; what comes in
    should be of length 1, as `unit_tokens` makes it.
    """

    paper = "Loshchilov et al. 2024, nGPT: normalized Transformer with representation learning on the hypersphere"
    final = False
    examples = ({}, {"step": 0.5, "pace": 2.0})

    class Config(Base):
        step: float = Field(0.05, gt=0, description="alpha at the start, of the order of 1 / layers")
        pace: float | None = Field(None, gt=0, description="default: sqrt(width)")

    def __init__(self, c: Config, width: int, norm: Base, branches: int) -> None:
        super().__init__(c, width, norm, branches)
        pace = c.pace or width**0.5
        self.factor = c.step * pace
        self.a = nn.ParameterList(nn.Parameter(torch.full((width,), 1 / pace)) for _ in range(branches))

    def forward(self, x: Tensor, at: Layout, branches: Sequence[Branch], normal: Normal = whole) -> Tensor:
        x = at.clean(x)
        for a, branch in zip(self.a, branches, strict=True):
            there = F.normalize(branch(x), dim=-1)
            x = F.normalize(x + self.factor * a * (there - x), dim=-1)
        return x
