"""Attention in a window, with a few tokens that see all and are seen by all."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.attend import merge_heads
from ._blocks import attend_blocks, distinct, rows


class Longformer(Mixer):
    """o(S(q k') v): token i sees j with |i - j| < window, and the first `globals` tokens. Beltagy et al. 2020.

    Those see all tokens, with queries, keys and values from maps of their own; without any there are no such maps.
    S is the softmax of scores / sqrt(E). Places are counted along each sequence. Cost n (window + globals).
    """

    paper = "Beltagy et al. 2020, Longformer: the long-document transformer"
    examples = ({"heads": 2, "window": 3, "globals": 2}, {"heads": 4, "window": 2, "globals": 0, "bias": True})

    class Config(Base):
        heads: int = Field(4, gt=0)
        window: int = Field(257, gt=0, description="tokens visible on each side, itself included")
        globals: int = Field(1, ge=0, description="first tokens of a sequence that see all and are seen by all")
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        head_width(self, width, c.heads)
        self.heads, self.window, self.globals = c.heads, c.window, c.globals
        self.q, self.k, self.v, self.o = (linear(width, width, c.bias) for _ in range(4))
        if c.globals:
            self.q_global, self.k_global, self.v_global = (linear(width, width, c.bias) for _ in range(3))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        q, k, v = (rows(f(x), at, self.heads, self.window) for f in (self.q, self.k, self.v))
        y = attend_blocks(q, k, v, self._table(at, q.shape[2]), at.lengths, self.window, self._score)
        if self.globals:
            y = torch.cat([self._whole(x, at), y[:, :, self.globals :]], 2)
        longest = at.length if at.full else at.rows[0].shape[1]
        return self.o(at.from_rows(merge_heads(y[:, :, :longest])))

    def _table(self, at: Layout, length: int) -> Tensor:
        """(1, 1, blocks, M): the blocks of the global tokens, then a block and its neighbours."""

        def make() -> Tensor:
            block = torch.arange(length // self.window, device=at.device)
            first = torch.arange(-(-self.globals // self.window), device=at.device).expand(len(block), -1)
            near = block[:, None] + torch.arange(-1, 2, device=at.device)
            return distinct(torch.cat([first, near], 1), torch.tensor(len(block), device=at.device))[None, None]

        return at.derive(("window and globals", self.window, self.globals), make)

    def _score(self, i: Tensor, j: Tensor) -> Tensor:
        seen = ((i - j).abs() < self.window) | (j < self.globals)
        return torch.zeros((), device=j.device).masked_fill(~seen, -torch.inf)

    def _whole(self, x: Tensor, at: Layout) -> Tensor:
        """(N, H, globals, E): what the first tokens gather from the whole sequence."""
        q, k, v = (rows(f(x), at, self.heads, 1) for f in (self.q_global, self.k_global, self.v_global))
        score = q[:, :, : self.globals] @ k.mT * q.shape[-1] ** -0.5
        if not at.full:
            score = score.masked_fill(~at.rows[1][:, None, None], -torch.inf)
        return score.softmax(-1) @ v
