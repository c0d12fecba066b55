"""A penalty that grows with the logarithm of distance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core.families import Position
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.score import Score, distance
from ._relative import once


class Kerple(Position):
    """-a_h log(1 + b_h |i - j|), a and b positive and learned: the logarithmic kernel. Chi et al. 2022.

    The parameters are log a and log b; at the start a is drawn from (0, 2) and b from (0, 1).
    """

    paper = "Chi et al. 2022, KERPLE: kernelized relative positional embedding for length extrapolation"
    kind = "bias"

    class Config(Base):
        pass

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__()
        tiny = 1e-2
        self.log_a = nn.Parameter(torch.empty(heads).uniform_(tiny, 2).log())
        self.log_b = nn.Parameter(torch.empty(heads).uniform_(tiny, 1).log())

    def bias(self) -> Score:
        return LogDistance(self.log_a.exp(), self.log_b.exp())


@dataclass(frozen=True, eq=False)
class LogDistance(Score):
    relative = True
    a: Tensor  # (H,)
    b: Tensor  # (H,)

    def value(self, q: Layout, k: Layout) -> Tensor:
        a, b = self.a[None, :, None, None], self.b[None, :, None, None]
        return -a * torch.log1p(b * distance(*once(q, k)).abs())
