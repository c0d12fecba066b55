"""Cosine attention: similarities of unit vectors as weights, so that the past fits into one sum of constant size."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.score import along
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads
from ..ops.linear_attention import linear_attention, linear_attention_chunk, sums


class CosineAttention(Mixer):
    """o(n_i^-sigmoid(m_h) sum_j cos(q_i, k_j) v_j), n_i the number of tokens that i sees, m learned, 0.5 at first.

    A causal token at position p sees p + 1, any other its sequence. A position turns queries and keys, and leaves their
    length alone. Mongaras et al. 2024.
    """

    paper = "Mongaras et al. 2024, Cottention: linear Transformers with cosine attention"
    positions = frozenset({"rotate"})
    examples = (
        {"heads": 2},
        {"heads": 2, "causal": True},
        {"heads": 4, "causal": True, "bias": True, "position": "rope"},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        causal: bool | None = None
        bias: bool = False
        position: Annotated[Base | None, Slot("positions")] = None

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.heads, self.size, self.causal = c.heads, head_width(self, width, c.heads), bool(c.causal)
        self.q, self.k, self.v, self.o = (linear(width, width, c.bias) for _ in range(4))
        self.power = nn.Parameter(torch.full((c.heads,), 0.5))  # m
        self.position = c.position.build(c.heads, self.size) if c.position else None

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        return self._read(linear_attention(*self._qkv(at.clean(x), at), at, self.causal, None), at)

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, Tensor]:
        last = like.new_zeros(batch, self.heads, dtype=torch.float64)  # of a decay, of which there is none
        return sums(like, batch, self.heads, self.size, self.size), last

    def chunk(self, x, at, state, shared=None):
        y, state = linear_attention_chunk(*self._qkv(at.clean(x), at), at, None, state)
        return self._read(y, at), state

    def _qkv(self, x: Tensor, at: Layout) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (split_heads(f(x), self.heads) for f in (self.q, self.k, self.v))
        if self.position is not None:
            q, k = self.position.rotate(q, at), self.position.rotate(k, at)
        return F.normalize(q, dim=-1), F.normalize(k, dim=-1), v

    def _read(self, y: Tensor, at: Layout) -> Tensor:
        fall = -self.power.sigmoid()[:, None] * self._seen(at).to(y.dtype).log()[:, None]
        return self.o(merge_heads(y * fall.exp()[..., None]))

    def _seen(self, at: Layout) -> Tensor:
        """(B, T) int64: how many tokens each sees, 1 at padding."""
        if self.causal:
            along(at)
            return at.pos[..., 0] + 1
        return at.derive("sizes", lambda: torch.where(at.valid, at.lengths[at.ordinal.clamp_min(0)], 1))
