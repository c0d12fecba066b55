"""Attention from a decoder's tokens to the memory of an encoder."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.score import Same
from ..core.shared import Shared
from ..ops.attend import attend, merge_heads, split_heads


class CrossAttention(Mixer):
    """o(softmax(q m_k' scale) m_v), with keys and values from the memory m instead of from x itself.

    Sequence n of the batch reads sequence n of the memory. It looks at no other token of its own sequence, so it
    is causal; its streaming state is the memory's keys and values, made at the first chunk. Vaswani et al. 2017.
    """

    paper = "Vaswani et al. 2017, Attention is all you need"
    causal = True
    needs = ("memory",)
    growth = "n^2"  # tokens times memory
    examples = ({"heads": 2}, {"heads": 4, "kv_heads": 2, "bias": True}, {"heads": 2, "bias": True, "k_bias": False})

    class Config(Base):
        heads: int = Field(4, gt=0)
        kv_heads: int | None = Field(None, gt=0, description="key and value heads; default: heads")
        head_width: int | None = Field(None, gt=0, description="default: width / heads")
        bias: bool = False
        k_bias: bool | None = Field(None, description="default: as bias")
        scale: float | None = Field(None, gt=0, description="default: head_width ** -0.5")
        dropout: float = Field(0.0, ge=0, lt=1)

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        groups = c.kv_heads or c.heads
        if c.heads % groups:
            raise InputError(f"cross_attention: {c.heads} heads do not divide into {groups} kv_heads")
        size = c.head_width or head_width(self, width, c.heads)
        self.heads, self.groups, self.dropout = c.heads, groups, c.dropout
        self.scale = size**-0.5 if c.scale is None else c.scale
        self.q = linear(width, c.heads * size, c.bias)
        self.k = linear(width, groups * size, c.bias if c.k_bias is None else c.k_bias)
        self.v = linear(width, groups * size, c.bias)
        self.o = linear(c.heads * size, width, c.bias)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        return self._mix(x, at, *self._memory(shared))

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, ...]:
        return ()

    def chunk(self, x, at, state, shared=None):
        if not state:
            k, v, memory = self._memory(shared)
            state = (k, v, memory.seg.expand(k.shape[0], -1), memory.pos)
        k, v, seg, pos = state
        return self._mix(x, at, k, v, Layout(seg, pos)), state

    def _memory(self, shared: Shared | None) -> tuple[Tensor, Tensor, Layout]:
        found = shared.take("memory") if shared is not None else None
        if found is None:
            raise InputError("cross_attention: no memory was given; it stands in a decoder whose spec has an encoder")
        memory, where = found
        memory = where.clean(memory)
        return split_heads(self.k(memory), self.groups), split_heads(self.v(memory), self.groups), where

    def _mix(self, x: Tensor, at: Layout, k: Tensor, v: Tensor, where: Layout) -> Tensor:
        if k.shape[0] != x.shape[0]:
            raise InputError(f"cross_attention: {len(x)} rows of tokens for {len(k)} rows of memory")
        q = split_heads(self.q(at.clean(x)), self.heads)
        dropout = self.dropout if self.training else 0.0
        return self.o(merge_heads(attend(q, k, v, Same(), at, where, self.scale, dropout)))
