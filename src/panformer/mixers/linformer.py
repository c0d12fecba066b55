"""Linformer: keys and values of a sequence are mapped to a few, by learned maps along the sequence."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads


class Linformer(Mixer):
    """o(softmax(q (E k)' / sqrt(e)) (F v)), E and F (rank, length) learned for each head. Wang et al. 2020.

    Column t of E and F belongs to token t of a sequence; a sequence shorter than `length` uses the first columns, a
    longer one is refused. `share` = heads: one E and one F for all heads; kv: one matrix is both for all heads. With
    rank = length = tokens and E = F = 1 it is attention. Projected keys have the variance of keys at the start.
    """

    paper = "Wang et al. 2020, Linformer: self-attention with linear complexity"
    examples = (
        {"heads": 2, "length": 1024, "rank": 3},
        {"heads": 4, "length": 1024, "rank": 5, "share": "none", "bias": True},
        {"heads": 2, "length": 1024, "rank": 4, "share": "kv", "out_bias": True},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        length: int = Field(512, gt=0, description="tokens of the longest sequence")
        rank: int = Field(64, gt=0, description="keys and values that stay of a sequence")
        share: Literal["none", "heads", "kv"] = "heads"
        bias: bool = False
        out_bias: bool | None = Field(None, description="default: as bias")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        head_width(self, width, c.heads)
        self.heads, self.length = c.heads, c.length
        self.q, self.k, self.v = (linear(width, width, c.bias) for _ in range(3))
        self.o = linear(width, width, c.bias if c.out_bias is None else c.out_bias)
        shape = (c.heads if c.share == "none" else 1, c.rank, c.length)
        self.to_keys = nn.Parameter(torch.randn(shape) * c.length**-0.5)
        self.to_values = None if c.share == "kv" else nn.Parameter(torch.randn(shape) * c.length**-0.5)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        rows = at.to_rows(at.clean(x))  # (N, L, D)
        if rows.shape[1] > self.length:
            raise InputError(f"linformer: a sequence of {rows.shape[1]} tokens is longer than length {self.length}")
        to_values = self.to_keys if self.to_values is None else self.to_values
        q = split_heads(self.q(rows), self.heads)  # (N, H, L, e)
        k, v = self._few(self.k, self.to_keys, rows, at), self._few(self.v, to_values, rows, at)  # (N, H, rank, e)
        y = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
        return self.o(at.from_rows(merge_heads(y)))

    def _few(self, of: nn.Linear, along: Tensor, rows: Tensor, at: Layout) -> Tensor:
        """along (of rows), padding left out. One matrix for all heads comes first: (along rows) W has `rank` rows, not L."""
        along = along[..., : rows.shape[1]]
        ones = at.to_rows(rows.new_ones(at.batch, at.length, 1))
        if len(along) > 1:
            return along @ split_heads(of(rows) * ones, self.heads)
        few = of(along[0] @ rows)
        if of.bias is not None:  # each token has it, not each of the few
            few = few + (along[0] @ ones - 1) * of.bias
        return split_heads(few, self.heads)
