"""Attention between blocks: the first and the last with all, the others with their neighbours and a few at random."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.attend import merge_heads
from ._blocks import attend_blocks, distinct, rows


class BigBird(Mixer):
    """o(S(q k') v) over blocks of `block` tokens: block b sees b-1, b, b+1, the first, the last and `random` others.

    The first and the last block see all; so do all where a sequence has at most 5 + 2 random blocks. Random blocks
    are drawn per head from `seed`, the same in every call; one that is seen anyway counts once. With `drawn: false`
    the first block stands for each of them, so that it counts 1 + random times: public checkpoints answer so.
    S is the softmax of scores / sqrt(E). Zaheer et al. 2020.
    """

    paper = "Zaheer et al. 2020, Big Bird: transformers for longer sequences"
    examples = (
        {"heads": 2, "block": 2, "random": 1},
        {"heads": 4, "block": 1, "random": 2, "drawn": False, "bias": True},
        {"heads": 2, "block": 1, "random": 1, "seed": 3, "out_bias": True},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        block: int = Field(64, gt=0, description="tokens per block")
        random: int = Field(3, ge=0, description="further blocks that a block sees")
        drawn: bool = True
        seed: int = Field(0, ge=0, description="of the random blocks")
        bias: bool = False
        out_bias: bool | None = Field(None, description="default: as bias")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        head_width(self, width, c.heads)
        self.config, self.heads, self.size = c, c.heads, c.block
        self.q, self.k, self.v = (linear(width, width, c.bias) for _ in range(3))
        self.o = linear(width, width, c.bias if c.out_bias is None else c.out_bias)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        q, k, v = (rows(f(x), at, self.heads, self.size) for f in (self.q, self.k, self.v))
        y = torch.zeros_like(q)
        for near, which in self._kinds(at):
            n = at.lengths[which]
            room = -(-int(n.max()) // self.size) * self.size
            gather = self._near if near else whole
            out = gather(q[which, :, :room], k[which, :, :room], v[which, :, :room], n)
            y = y.index_put((which,), F.pad(out, (0, 0, 0, y.shape[2] - room)))
        longest = at.length if at.full else at.rows[0].shape[1]
        return self.o(at.from_rows(merge_heads(y[:, :, :longest])))

    def _kinds(self, at: Layout) -> list[tuple[bool, Tensor]]:
        """(whether blocks see some blocks alone, the rows of which this holds), where there are such rows."""
        long = at.lengths > (5 + 2 * self.config.random) * self.size
        kinds = [(near, (long == near).nonzero()[:, 0]) for near in (False, True)]
        return [(near, which) for near, which in kinds if len(which)]

    def _near(self, q: Tensor, k: Tensor, v: Tensor, n: Tensor) -> Tensor:
        """q, k, v (N, H, L, E) of rows of length n (N,)."""
        size, last = self.size, (n - 1) // self.size
        y = attend_blocks(q, k, v, self._table(q.shape[2] // size, last), n, size, self._score)
        row = torch.arange(len(n), device=n.device)
        y, q = (z.unflatten(2, (-1, size)).transpose(1, 2) for z in (y, q))  # (N, blocks, H, size, E)
        for block in (torch.zeros_like(last), last):
            y = y.index_put((row, block), whole(q[row, block], k, v, n))
        return y.transpose(1, 2).flatten(2, 3)

    def _table(self, blocks: int, last: Tensor) -> Tensor:
        """(N, H|1, blocks, M): the first block, the last, a block and its neighbours, and those at random."""
        block, n = torch.arange(blocks, device=last.device), len(last)
        ends = torch.stack([torch.zeros_like(last), last], -1)[:, None].expand(n, blocks, 2)
        near = (block[:, None] + torch.arange(-1, 2, device=last.device)).expand(n, blocks, 3)
        table = torch.cat([ends, near], -1)[:, None]
        if self.config.random and self.config.drawn:
            rng = torch.Generator().manual_seed(self.config.seed)
            chance = torch.rand(blocks, self.heads, self.config.random, generator=rng, dtype=torch.float64)
            drawn = (chance.movedim(0, 1).to(last.device) * (last + 1)[:, None, None, None]).long()
            table = torch.cat([table.expand(n, self.heads, blocks, 5), drawn], -1)
        return distinct(table, (last + 1)[:, None, None, None])

    def _score(self, i: Tensor, j: Tensor) -> Tensor:
        more = 0.0 if self.config.drawn else math.log1p(self.config.random)
        return more * (j < self.size)


def whole(q: Tensor, k: Tensor, v: Tensor, n: Tensor) -> Tensor:
    """Attention to the first n (N,) keys of each row."""
    real = torch.arange(k.shape[2], device=n.device) < n[:, None, None, None]
    score = q @ k.mT * q.shape[-1] ** -0.5
    return score.masked_fill(~real, -torch.inf).softmax(-1) @ v
