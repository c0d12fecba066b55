"""A channel network of spiking neurons, which remember their potentials and so make it a mixer."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Mixer, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.shared import Shared
from ..core.state import State
from ..ops.conv import depthwise, depthwise_chunk
from ..ops.spike import Neuron, Reset, fire


class SpikingMlp(Mixer):
    """down(s(norm(conv(up(s(x)))))), s leaky integrate-and-fire neurons: both maps read only zeros and ones.

    v_t = decay v_{t-1} + x_t fires where it reaches the threshold. The convolution, depthwise over `kernel` tokens back,
    is left out at 1: then it is the channel mixer of Liu et al. 2024, with membrane shortcuts, else a layer of their
    patch embedding. In training a spike has the slope of a sigmoid, else none.
    """

    paper = "Liu et al. 2024, LMUFormer: low complexity yet powerful spiking model with Legendre memory units"
    causal = True
    examples = (
        {"hidden": 12},
        {"kernel": 3, "ratio": 1.0, "reset": "zero", "norm": "layer"},
        {"hidden": 8, "decay": 0.8, "threshold": 0.4, "bias": False},
    )

    class Config(Base):
        ratio: float = Field(4.0, gt=0)
        hidden: int | None = Field(None, gt=0, description="default: ratio x width")
        kernel: int = Field(1, gt=0, description="tokens the convolution sees")
        decay: float = Field(0.5, ge=0, le=1, description="of a potential, per token")
        threshold: float = Field(1.0, gt=0)
        reset: Reset = Field("subtract", description="what a spike takes: the threshold, or all")
        norm: Annotated[Base | None, Slot("norms")] = None  # of the hidden units before they spike
        bias: bool = True

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        if c.norm is not None and not c.norm.part.pointwise:
            raise InputError(f"spiking_mlp: norm {c.norm.part.use()!r} looks at all tokens at once, later ones too")
        self.width, self.hidden = width, c.hidden or max(1, round(c.ratio * width))
        self.neuron = Neuron(c.decay, c.threshold, c.reset)
        self.up, self.down = linear(width, self.hidden, c.bias), linear(self.hidden, width, c.bias)
        self.norm = c.norm.build(self.hidden) if c.norm is not None else None
        filter = torch.randn(self.hidden, c.kernel) * c.kernel**-0.5
        self.filter = nn.Parameter(filter) if c.kernel > 1 else None

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        s, _ = fire(at.clean(x), self.neuron, at, None, self.training)
        u = self.up(s)
        if self.filter is not None:
            u = depthwise(u, self.filter, None, at, self.filter.shape[1] - 1)
        s, _ = fire(self._normed(u, at), self.neuron, at, None, self.training)
        return self.down(s)

    def start(self, batch: int, like: Tensor) -> State:
        wide = torch.promote_types(like.dtype, torch.float32)
        outer, inner = (like.new_zeros(batch, n, dtype=wide) for n in (self.width, self.hidden))
        back = 0 if self.filter is None else self.filter.shape[1] - 1
        return outer, like.new_zeros(batch, back, self.hidden), inner

    def chunk(self, x, at, state, shared=None):
        outer, past, inner = state
        s, outer = fire(at.clean(x), self.neuron, at, outer, self.training)
        u = self.up(s)
        if self.filter is not None:
            u, now = depthwise_chunk(u, self.filter, None, at, past)
            past = now.to(past.dtype)
        s, inner = fire(self._normed(u, at), self.neuron, at, inner, self.training)
        return self.down(s), (outer, past, inner)

    def _normed(self, u: Tensor, at: Layout) -> Tensor:
        return at.clean(u if self.norm is None else self.norm(u, at))
