"""Hyena: long convolutions by filters that a network says, and gates between them that follow the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

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
from ..ops.long_conv import long_conv, long_conv_chunk
from ._implicit import Implicit

Span = Annotated[float, Field(gt=0)]


class Hyena(Mixer):
    """o(z^(N+1)), z^1 = v, z^(n+1)_t = x^n_t sum_s (h^n_(t-s) + skip^n [s = t]) z^n_s. Poli et al. 2023.

    v and the gates x^1 .. x^N are slices of conv(w x), a short convolution; all channels and orders take their filters
    h^n from one network of the distance (see `Implicit`). In v it is a product of diagonal and Toeplitz matrices. With
    `start: gate` h^1 and its skip are left out, as in the published code: order 2 is x^2 (h * (x^1 v)). Not causal, the
    filters have a side for later tokens as well, which the paper has not. A stream has no state of one size: it keeps
    what every long convolution has read, width numbers a token and convolution, and a step costs as much as that.
    """

    paper = "Poli et al. 2023, Hyena hierarchy: towards larger convolutional language models"
    growth = "n log n"
    examples = (
        {"causal": True, "length": 32, "bands": 3, "hidden": 8},
        {"order": 3, "causal": True, "kernel": 4, "length": 16, "hidden": 6, "depth": 1, "bands": 2, "bias": True},
        {"order": 1, "kernel": 1, "length": 8, "bands": 2, "hidden": 8, "depth": 2, "pace": 3.0},
        {"causal": True, "length": 20, "bands": 2, "hidden": 5, "spans": [0.5, 3.0], "shift": 0.0, "start": "gate"},
    )

    class Config(Base):
        order: int = Field(2, gt=0, description="gates, each after a long convolution")
        start: Literal["filter", "gate"] = Field("filter", description="what is done to v at first; a gate: one less")
        kernel: int = Field(3, gt=0, description="tokens the short convolution sees")
        length: int = Field(1024, gt=0, description="tokens that features and windows are scaled to; filters go on")
        bands: int = Field(16, gt=0, description="waves among the features of a distance")
        hidden: int = Field(64, gt=0, description="numbers in a layer of the network that says the filters")
        depth: int = Field(3, gt=0, description="its layers of sines")
        pace: float = Field(10.0, gt=0, description="what the sines are of is multiplied by, at the start")
        spans: tuple[Span, Span] = Field((0.3, 1.5), description="lengths in which the windows fall to a hundredth")
        shift: float = Field(0.05, ge=0, description="what is left of a window far away")
        causal: bool | None = None
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.order, self.convolutions = c.order, c.order - (c.start == "gate")
        if not self.convolutions:
            raise InputError(
                "hyena: order 1 that starts with a gate has no long convolution; give order 2, or start: filter"
            )
        self.causal, channels = bool(c.causal), (c.order + 1) * width
        self.left = c.kernel - 1 if self.causal else c.kernel // 2
        self.input, self.output = linear(width, channels, c.bias), linear(width, width, c.bias)
        self.filter = nn.Parameter(torch.empty(channels, c.kernel).uniform_(-1, 1) * c.kernel**-0.5)
        self.offset = nn.Parameter(torch.zeros(channels)) if c.bias else None
        sets = self.convolutions * width
        self.implicit = Implicit(sets, c.length, c.bands, c.hidden, c.depth, c.pace, c.spans, c.shift)
        self.skip = nn.Parameter(torch.ones(width, self.convolutions))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        mix, v = self._mixing(x, at)
        return self.output(mix(v))

    def mixing(self, x: Tensor, at: Layout) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """(the map that is linear in values (B, D, T, V), channels as heads, with the gates held; the values of x)."""
        mix, v = self._mixing(x, at)

        def columns(values: Tensor) -> Tensor:
            return torch.stack([mix(c.mT).mT for c in values.unbind(-1)], -1)

        return columns, v.mT[..., None]

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, ...]:
        width = self.skip.shape[0]
        short = like.new_zeros(batch, self.filter.shape[1] - 1, self.filter.shape[0])
        return short, *(like.new_zeros(batch, 0, width) for _ in range(self.convolutions))

    def chunk(self, x, at, state, shared=None):
        short, *pasts = state
        u, now = depthwise_chunk(self.input(at.clean(x)), self.filter, self.offset, at, short)
        z, *gates = u.chunk(self.order + 1, -1)
        filters = self._skipping(self.implicit.remembered(pasts[0].shape[1] + at.length), 0)
        kept: list[Tensor] = []
        for gate, h in zip(gates, filters):
            if h is not None:
                z, past = long_conv_chunk(z, h, at, pasts[len(kept)])
                kept.append(past)
            z = gate * z
        return self.output(z), (now.to(short.dtype), *kept)

    def slots(self, x: Tensor, at: Layout) -> tuple[Tensor, ...]:
        """v and the gates x^1 .. x^N, (B, T, D) each."""
        u = depthwise(self.input(at.clean(x)), self.filter, self.offset, at, self.left)
        return u.chunk(self.order + 1, -1)

    def filters(self, behind: int, ahead: int = 0) -> tuple[Tensor | None, ...]:
        """(D, ahead + behind) for each order: the weights of the distances -ahead to behind - 1, skip included.

        None where a gate stands without one.
        """
        return self._skipping(self.implicit(behind, ahead), ahead)

    def _mixing(self, x: Tensor, at: Layout) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        v, *gates = self.slots(x, at)
        ahead = 0 if self.causal else at.longest - 1
        filters = self.filters(at.longest, ahead)

        def mix(z: Tensor) -> Tensor:
            for gate, h in zip(gates, filters):
                z = gate * (z if h is None else long_conv(z, h, at, ahead))
            return z

        return mix, v

    def _skipping(self, h: Tensor, here: int) -> tuple[Tensor | None, ...]:
        """h (D convolutions, K) with the skip as one more weight of distance 0, tap `here`; by order.

        Those of one channel lie side by side, so that each order has windows of all spans.
        """
        skip = F.pad(self.skip.flatten()[:, None].to(h.dtype), (here, h.shape[1] - here - 1))
        return (None,) * (self.order - self.convolutions) + (h + skip).unflatten(0, self.skip.shape).unbind(1)
