"""A penalty that grows with distance, at a fixed slope per head."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.families import Position
from ..core.part import Config as Base
from ..core.score import Score, Slope


class Alibi(Position):
    """-m_h (i - j), m_h = 2^(-8h / heads), h = 1 .. heads.

    Under a linear mixer it is a fixed decay. `two_sided` takes |i - j|, for mixers that look both ways; a linear
    mixer refuses it. Press et al. 2021.
    """

    paper = "Press et al. 2021, Train short, test long: attention with linear biases enables input length extrapolation"
    kind = "bias"
    slope: Tensor  # (H,)
    examples = ({}, {"two_sided": True})

    class Config(Base):
        two_sided: bool = False

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__()
        self.two_sided = c.two_sided
        self.register_buffer("slope", torch.tensor(slopes(heads)), persistent=False)

    def bias(self) -> Score:
        return Slope(self.slope, self.two_sided)


def slopes(heads: int) -> list[float]:
    """Powers of 2^(-8/heads); where heads is no power of two, those of the power below and every other one of
    the power above, as the paper's own code does."""
    power = 2 ** math.floor(math.log2(heads))
    below = [2 ** (-8 * h / power) for h in range(1, power + 1)]
    above = [2 ** (-8 * h / (2 * power)) for h in range(1, 2 * power + 1, 2)]
    return below + above[: heads - power]
