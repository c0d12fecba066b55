"""Gated linear attention: linear attention in which every channel of the keys fades at a rate that the input says."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads
from ..ops.gated_linear import gated_linear


class GatedLinearAttention(Mixer):
    """o(norm(S_t q_t / sqrt(E)) silu(g)), S_t = S_{t-1} diag(a_t) + v_t k_t', a = sigmoid(.)^(1 / temper).

    The decays go through a map of low rank. Every head is brought to mean square 1 before its weights. Yang et al. 2024.
    """

    paper = "Yang et al. 2024, Gated linear attention transformers with hardware-efficient training"
    causal = True
    examples = ({"heads": 2}, {"heads": 2, "size": 3, "rank": 2, "temper": 1.0})

    class Config(Base):
        heads: int = Field(4, gt=0)
        size: int | None = Field(None, gt=0, description="numbers in a query or key; default: width / heads / 2")
        rank: int = Field(16, gt=0, description="of the map that gives the decays")
        temper: float = Field(16.0, gt=0, description="how many times slower than a sigmoid the channels fade")
        eps: float = Field(1e-5, gt=0, description="of the norm")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        value = head_width(self, width, c.heads)
        if c.size is None and value % 2:
            raise InputError(f"gated_linear_attention: heads of width {value} have no half for queries; give a size")
        self.heads, self.size, self.value = c.heads, c.size or value // 2, value
        self.temper, self.eps = c.temper, c.eps
        keys = c.heads * self.size
        self.q, self.k = linear(width, keys, False), linear(width, keys, False)
        self.v, self.g, self.o = (linear(width, width, False) for _ in range(3))
        self.low, self.a = linear(width, c.rank, False), linear(c.rank, keys)
        self.weight = torch.nn.Parameter(torch.ones(self.value))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        return self._mix(at.clean(x), at, None)[0]

    def start(self, batch: int, like: Tensor) -> Tensor:
        wide = torch.promote_types(like.dtype, torch.float32)
        return like.new_zeros(batch, self.heads, self.size, self.value, dtype=wide)

    def chunk(self, x, at, state, shared=None):
        return self._mix(at.clean(x), at, state)

    def _mix(self, x: Tensor, at: Layout, s: Tensor | None) -> tuple[Tensor, Tensor]:
        q, k, v = (split_heads(f(x), self.heads) for f in (self.q, self.k, self.v))
        fall = self.a(self.low(x))
        fall = F.logsigmoid(fall.to(torch.promote_types(fall.dtype, torch.float32))) / self.temper
        y, s = gated_linear(q * self.size**-0.5, k, v, split_heads(fall, self.heads), at, s)
        y = F.rms_norm(merge_heads(y).unflatten(-1, (self.heads, -1)), (self.value,), self.weight, self.eps)
        return self.o(y.flatten(-2) * F.silu(self.g(x))), s
