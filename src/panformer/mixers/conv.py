"""Local convolution: every channel alone over a few neighbours, between two maps over channels."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Mixer, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.activations import ACTIVATIONS, Activation
from ..ops.conv import depthwise, depthwise_chunk


class Conv(Mixer):
    """w_2 conv(act(w_1 x)), conv depthwise over `kernel` tokens, to both sides or only back. Yu et al. 2022, SepConv.

    Their StarReLU is relu2 with a scale and a shift, which are left to the maps that follow.
    """

    paper = "Yu et al. 2022, MetaFormer baselines for vision"
    examples = (
        {"kernel": 5},
        {"kernel": 4, "causal": True, "bias": True},
        {"kernel": 1, "causal": True, "expand": 1, "activation": "gelu"},
    )

    class Config(Base):
        kernel: int = Field(7, gt=0, description="tokens seen, itself included")
        expand: int = Field(2, gt=0, description="channels inside, as a multiple of the width")
        causal: bool | None = None
        activation: Activation = "relu2"
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.causal, self.inner = bool(c.causal), c.expand * width
        self.left = c.kernel - 1 if self.causal else c.kernel // 2
        self.act = ACTIVATIONS[c.activation]
        self.input, self.output = linear(width, self.inner, c.bias), linear(self.inner, width, c.bias)
        self.filter = nn.Parameter(torch.randn(self.inner, c.kernel) * c.kernel**-0.5)
        self.offset = nn.Parameter(torch.zeros(self.inner)) if c.bias else None

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        u = self.act(self.input(at.clean(x)))
        return self.output(depthwise(u, self.filter, self.offset, at, self.left))

    def start(self, batch: int, like: Tensor) -> Tensor:
        return like.new_zeros(batch, self.left, self.inner)

    def chunk(self, x, at, state, shared=None):
        u = self.act(self.input(at.clean(x)))
        y, now = depthwise_chunk(u, self.filter, self.offset, at, state)
        return self.output(y), now.to(state.dtype)
