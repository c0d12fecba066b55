"""A memory of learned patterns: every token reads what is kept under the patterns it resembles."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Channel, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads
from ..ops.hopfield import associate


class Prototypes(Channel):
    """o(softmax(beta xi K') V), K and V learned, xi = q(x) after `steps` - 1 updates xi <- softmax(beta xi K') K.

    Each head has `patterns` of them. Ramsauer et al. 2020, HopfieldLayer; there K and V are maps of one learned
    matrix, which express the same.
    """

    paper = "Ramsauer et al. 2020, Hopfield networks is all you need"
    examples = ({"heads": 2, "patterns": 5}, {"heads": 4, "patterns": 3, "steps": 2, "beta": 1.5, "bias": True})

    class Config(Base):
        heads: int = Field(4, gt=0)
        patterns: int = Field(64, gt=0, description="of each head")
        beta: float | None = Field(None, gt=0, description="default: 1 / sqrt(width / heads)")
        steps: int = Field(1, gt=0, description="looks at the patterns, the last one at what is kept under them")
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        size = head_width(self, width, c.heads)
        self.heads, self.steps, self.beta = c.heads, c.steps, size**-0.5 if c.beta is None else c.beta
        self.q, self.o = linear(width, width, c.bias), linear(width, width, c.bias)
        self.stored, self.values = (nn.Parameter(torch.randn(c.heads, c.patterns, size)) for _ in range(2))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        def read(xi: Tensor, what: Tensor) -> Tensor:
            return (self.beta * xi @ self.stored.mT).softmax(-1) @ what

        q = split_heads(self.q(at.clean(x)), self.heads)
        return self.o(merge_heads(associate(read, q, self.stored, self.values, self.steps)))
