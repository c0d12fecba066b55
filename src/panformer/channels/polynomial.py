"""The two-layer network with a learned polynomial as its activation."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import Channel, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared


class Polynomial(Channel):
    """down(a_0 + sum_i a_i rho(up(x), i)), i = 1 .. `order`, with learned numbers a.

    rho(h, i) is relu(h)^i (PolyReLU) or, for `of: norm`, h^i divided by its root mean square over the units (PolyNorm).
    At the start a_0 = 0 and all other a_i = 1 / order. Zhuo et al. 2024, PolyCom.
    """

    paper = "Zhuo et al. 2024, Polynomial composition activations"
    undecayed = ("coefficients",)
    examples = ({"hidden": 12}, {"hidden": 8, "of": "norm", "order": 2, "bias": True})

    class Config(Base):
        of: Literal["relu", "norm"] = "relu"
        order: int = Field(3, gt=0)
        ratio: float = Field(4.0, gt=0)
        hidden: int | None = Field(None, gt=0, description="default: ratio x width")
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        hidden = c.hidden or max(1, round(c.ratio * width))
        self.of = c.of
        self.up, self.down = linear(width, hidden, c.bias), linear(hidden, width, c.bias)
        self.coefficients = nn.Parameter(torch.tensor([0.0] + [1 / c.order] * c.order))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        h = self.up(at.clean(x))
        base = h if self.of == "norm" else F.relu(h)
        y, power = self.coefficients[0].expand_as(h), torch.ones_like(h)
        for a in self.coefficients[1:]:
            power = power * base
            y = y + a * (F.rms_norm(power, power.shape[-1:]) if self.of == "norm" else power)
        return self.down(y)
