"""Retention: linear attention whose past fades at a fixed rate per head."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.score import Slope
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads
from ..ops.linear_attention import Decay, linear_attention, linear_attention_chunk, sums


class Retention(Mixer):
    """o(silu(g) norm(sum_j gamma_h^(i-j) (q_i . k_j) v_j / sqrt(E))), gamma_h = 1 - 2^(-5-h). Sun et al. 2023.

    Every head is normalised alone, which makes up for sums that grow. The paper rotates queries and keys
    (`position: rope`). The decay is the score term that is ALiBi under a softmax.
    """

    paper = "Sun et al. 2023, Retentive network: a successor to Transformer for large language models"
    causal = True
    positions = frozenset({"rotate"})
    examples = ({"heads": 2}, {"heads": 4, "expand": 2, "position": "rope"})

    class Config(Base):
        heads: int = Field(4, gt=0)
        expand: int = Field(1, gt=0, description="width of the values, as a multiple of the width")
        position: Annotated[Base | None, Slot("positions")] = None

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.heads, self.size, self.value = c.heads, head_width(self, width, c.heads), c.expand * width // c.heads
        self.slopes = tuple(-math.log1p(-(2.0 ** (-5 - h))) for h in range(c.heads))
        self.q, self.k = linear(width, width, False), linear(width, width, False)
        self.v, self.g = linear(width, c.expand * width, False), linear(width, c.expand * width, False)
        self.o = linear(c.expand * width, width, False)
        self.position = c.position.build(c.heads, self.size) if c.position else None

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        return self._read(x, linear_attention(*self._qkv(x, at), at, True, self._decay(at)))

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, Tensor]:
        last = like.new_zeros(batch, self.heads, dtype=torch.float64)  # log-decay at the last token
        return sums(like, batch, self.heads, self.size, self.value), last

    def chunk(self, x, at, state, shared=None):
        x = at.clean(x)
        y, state = linear_attention_chunk(*self._qkv(x, at), at, self._decay(at), state)
        return self._read(x, y), state

    def _qkv(self, x: Tensor, at: Layout) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (split_heads(f(x), self.heads) for f in (self.q, self.k, self.v))
        k = k * self.size**-0.5
        return (q, k, v) if self.position is None else (self.position.rotate(q, at), self.position.rotate(k, at), v)

    def _decay(self, at: Layout) -> Decay | None:
        def make() -> Decay | None:  # in float64: only differences of long distances may be rounded
            return Slope(torch.tensor(self.slopes, dtype=torch.float64, device=at.device)).log_decay(at, at)

        return at.derive(("retention", self.slopes), make)

    def _read(self, x: Tensor, y: Tensor) -> Tensor:
        y = F.layer_norm(y, y.shape[-1:])
        return self.o(merge_heads(y) * F.silu(self.g(x)))
