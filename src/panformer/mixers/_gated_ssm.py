"""The block that selective and fixed diagonal state spaces share: they differ in where their rates come from."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Mixer, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.conv import depthwise, depthwise_chunk
from ..ops.selective_scan import selective_scan


class GatedSSM(Mixer):
    """o((ssm(u) + skip u) silu(z)), u = silu(conv(w_u x)), z = w_z x: Gu & Dao 2023, figure 3."""

    causal = True
    undecayed = ("a_log",)

    class Options(Base):
        expand: int = Field(2, gt=0, description="channels inside, as a multiple of the width")
        state: int = Field(16, gt=0, description="numbers remembered per channel")
        kernel: int = Field(4, gt=0, description="tokens the convolution sees")
        bias: bool = False
        conv_bias: bool = True
        delta_min: float = Field(1e-3, gt=0, description="slowest step size at the start")
        delta_max: float = Field(0.1, gt=0, description="fastest step size at the start")

    def __init__(self, c: Options, width: int) -> None:
        super().__init__()
        self.inner = c.expand * width
        self.input = linear(width, 2 * self.inner, c.bias)
        self.filter = nn.Parameter(torch.empty(self.inner, c.kernel).uniform_(-1, 1) * c.kernel**-0.5)
        self.offset = nn.Parameter(torch.zeros(self.inner)) if c.conv_bias else None
        self.a_log = nn.Parameter(torch.arange(1.0, c.state + 1).log().repeat(self.inner, 1))
        self.skip = nn.Parameter(torch.ones(self.inner))
        self.output = linear(self.inner, width, c.bias)

    def rates(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(delta (B, T, E) > 0, b, c) for u (B, T, E); b and c as `selective_scan` takes them."""
        raise NotImplementedError

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        u, z = self.input(at.clean(x)).chunk(2, -1)
        u = F.silu(depthwise(u, self.filter, self.offset, at, self.filter.shape[1] - 1))
        y, _ = self._scan(u, at, None if at.full else at.starts, None)
        return self.output(y * F.silu(z))

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, Tensor]:
        past = like.new_zeros(batch, self.filter.shape[1] - 1, self.inner)
        wide = torch.promote_types(like.dtype, torch.float32)
        return past, like.new_zeros(batch, *self.a_log.shape, dtype=wide)

    def chunk(self, x, at, state, shared=None):
        past, h = state
        u, z = self.input(at.clean(x)).chunk(2, -1)
        u, now = depthwise_chunk(u, self.filter, self.offset, at, past)
        y, last = self._scan(F.silu(u), at, None, h)
        return self.output(y * F.silu(z)), (now.to(past.dtype), last.to(h.dtype))

    def _scan(self, u: Tensor, at: Layout, reset: Tensor | None, h: Tensor | None) -> tuple[Tensor, Tensor]:
        delta, b, c = self.rates(u)
        y, h = selective_scan(u, at.clean(delta), -torch.exp(self.a_log), b, c, reset, h)
        return y + self.skip * u, h


def delta_bias(channels: int, low: float = 1e-3, high: float = 0.1) -> Tensor:
    """(channels,) whose softplus is spread evenly, on a log scale, from low to high."""
    if low > high:
        raise InputError(f"delta_min {low:g} is above delta_max {high:g}")
    delta = torch.empty(channels).uniform_(math.log(low), math.log(high)).exp()
    return delta + torch.log(-torch.expm1(-delta))  # the inverse of softplus
