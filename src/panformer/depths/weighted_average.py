"""A learned average over depth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Depth
from ..core.part import Config as Base


class WeightedAverage(Depth):
    """sum_j alpha_ij x_j over x_0, the embedded tokens, and x_j, the answer of layer j <= i. Pagliardini et al. 2024.

    At the start alpha_ii = 1 and all others are 0: the plain model. With a `dilation` of k only every k-th of them
    counts, x_i among them; with a `period` of p only after every p-th layer anything is averaged.
    """

    paper = (
        "Pagliardini et al. 2024, DenseFormer: enhancing information flow in Transformers via depth weighted averaging"
    )
    undecayed = ("alpha",)
    examples = ({}, {"dilation": 2}, {"dilation": 2, "period": 2})

    class Config(Base):
        dilation: int = Field(1, gt=0)
        period: int = Field(1, gt=0)

    def __init__(self, c: Config, width: int, layers: int) -> None:
        super().__init__(c, width, layers)
        self.dilation, self.period = c.dilation, c.period
        self.alpha = nn.ParameterDict()
        for i in range(c.period, layers + 1, c.period):
            start = torch.zeros(i // c.dilation + 1)
            start[-1] = 1
            self.alpha[str(i)] = nn.Parameter(start)

    def forward(self, history: Sequence[Tensor]) -> Tensor:
        i = len(history) - 1
        if i % self.period:
            return history[-1]
        terms = [a * x for a, x in zip(self.alpha[str(i)], history[i % self.dilation :: self.dilation], strict=True)]
        return torch.stack(terms).sum(0)
