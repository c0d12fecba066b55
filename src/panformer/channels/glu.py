"""Gated linear units."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..core.families import Channel, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.activations import ACTIVATIONS, Activation


class Glu(Channel):
    """down(act(gate(x)) * up(x)): SwiGLU with silu, GeGLU with gelu, ReGLU with relu, bilinear with identity.

    `hidden` is 8/3 of the width, rounded up to a multiple of 8, so that it costs as much as an MLP of ratio 4.
    Shazeer 2020.
    """

    paper = "Shazeer 2020, GLU variants improve Transformer"
    examples = ({}, {"hidden": 12, "activation": "gelu", "bias": True})

    class Config(Base):
        hidden: int | None = Field(None, gt=0, description="default: 8/3 x width, up to a multiple of 8")
        activation: Activation = "silu"
        bias: bool = False
        dropout: float = Field(0.0, ge=0, lt=1, description="of the hidden units")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        hidden = c.hidden or -(-8 * width // 24) * 8
        self.act, self.dropout = ACTIVATIONS[c.activation], c.dropout
        self.gate = linear(width, hidden, c.bias)
        self.up = linear(width, hidden, c.bias)
        self.down = linear(hidden, width, c.bias)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        return self.down(F.dropout(self.act(self.gate(x)) * self.up(x), self.dropout, self.training))
