"""Masked mixer: every pair of positions has a learned weight, the same for all inputs, and none looks ahead."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.score import along
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads
from ._past import Past, joined, nothing, remembered


class MaskedMixer(Mixer):
    """o(sum_{j<=i} W_ij v_j + b_i), W (H, N, N) and b (H, N) learned, i and j positions below `length` = N.

    v is linear in x. One head without v and o is the paper's masked convolution of kernel 1. Badger 2024.
    """

    paper = "Badger 2024, Masked mixers for language generation and retrieval"
    causal = True
    growth = "n^2"
    examples = ({"heads": 2, "length": 1024}, {"heads": 1, "length": 1100})

    class Config(Base):
        heads: int = Field(4, gt=0)
        length: int = Field(512, gt=0, description="positions that have weights; longer sequences are refused")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        head_width(self, width, c.heads)
        self.heads, self.length = c.heads, c.length
        bound = c.length**-0.5  # as a convolution starts that has the positions for channels
        self.weight = nn.Parameter(torch.empty(c.heads, c.length, c.length).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(c.heads, c.length))
        self.v, self.o = linear(width, width, False), linear(width, width, False)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        v = split_heads(self.v(at.clean(x)), self.heads)
        return self._mix(v, at, at)

    def start(self, batch: int, like: Tensor) -> tuple[Past, Tensor]:
        return nothing(batch, like), like.new_zeros(batch, 0, self.heads, self.v.out_features // self.heads)

    def chunk(self, x, at, state, shared=None):
        past, kept = state
        v = self.v(at.clean(x)).unflatten(-1, (self.heads, -1))
        seen, v = joined(past, at), torch.cat([kept, v], 1)
        return self._mix(v.transpose(1, 2), at, seen), (remembered(seen), v)

    def _mix(self, v: Tensor, q: Layout, k: Layout) -> Tensor:
        """v (B, H, S, V) at k -> (B, T, D) at q."""
        along(q)
        i, j = (torch.where(at.valid, at.pos[..., 0], 0) for at in (q, k))
        if not torch.compiler.is_compiling() and i.numel() and i.device.type != "meta" and int(i.max()) >= self.length:
            raise InputError(f"masked_mixer: position {int(i.max())} has no weights; length is {self.length}")
        keep = (q.seg[:, :, None] == k.seg[:, None]) & (i[:, :, None] >= j[:, None])  # (B, T, S)
        weight = self.weight[:, i[:, :, None], j[:, None]].transpose(0, 1).masked_fill(~keep[:, None], 0)
        return self.o(merge_heads(weight @ v + self.bias[:, i].transpose(0, 1)[..., None]))
