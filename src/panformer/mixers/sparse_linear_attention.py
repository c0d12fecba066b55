"""Sparse and linear attention in one: the best blocks exactly, those between linearly, the worst not at all."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.shared import Shared
from ..ops.block_attention import block_attention, chosen, top_of_each
from ..ops.regions import Regions, cut


class SparseLinearAttention(Mixer):
    """o(S v + P(f(q) sum f(k)' v / f(q) sum f(k)')), S the softmax over the critical blocks. Zhang et al. 2025, SLA.

    Blocks of keys are ranked for each block of queries by mean q mean k': the first `critical` are attended to, a
    share `skipped` of the last is left out, and the sums run over the marginal ones between. P is a linear map of one
    head's channels, the same for all heads, zero at the start. The paper has the critical ones as a share too, at
    quadratic cost. Blocks hold `size` tokens; without it about sqrt(n) of n, and cost grows as n^1.5, with it as n^2
    in the end.
    """

    paper = "Zhang et al. 2025, SLA: beyond sparsity in diffusion transformers via fine-tunable sparse-linear attention"
    growth = "n^1.5"
    examples = (
        {"heads": 2, "critical": 3},
        {"heads": 4, "critical": 2, "skipped": 0.3, "size": 2, "feature": "elu", "bias": True},
        {"heads": 2, "critical": 0, "skipped": 0.5},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        critical: int = Field(2, ge=0, description="blocks that a block attends to exactly")
        skipped: float = Field(0.1, ge=0, le=1, description="share of the blocks that are left out")
        size: int | None = Field(None, gt=0, description="tokens per block; default: from the length")
        feature: Annotated[Base, Slot("features")] = Field("softmax", validate_default=True)
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.heads, self.critical, self.skipped, self.size = c.heads, c.critical, c.skipped, c.size
        self.growth = "n^2" if c.size is not None else "n^1.5" if c.critical else "n"
        size = head_width(self, width, c.heads)
        self.feature = c.feature.build(c.heads, size)
        self.q, self.k, self.v, self.o = (linear(width, width, c.bias) for _ in range(4))
        self.join = nn.Linear(size, size)
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        q, k, v, blocks = self.q(x), self.k(x), self.v(x), cut(at, self.size)
        h = self.heads
        seen = [self._blocks(b.take(q, h), b.take(k, h), b.take(v, h), b) for b in blocks.parts]
        return self.o(blocks.give(seen, at))

    def _blocks(self, q: Tensor, k: Tensor, v: Tensor, blocks: Regions) -> Tensor:
        score = (blocks.mean(q) @ blocks.mean(k).mT).detach()  # (N, H, R, R)
        asks, looks = top_of_each(score, blocks.filled, self.critical)
        sparse = block_attention(q, k, v, blocks.real[:, None], asks, looks, None)
        between = ~chosen(asks, looks, q.shape[2]) & self._kept(score, blocks.filled)
        return sparse + self.join(self._sums(q, k, v, blocks, between.to(q.dtype)))

    def _kept(self, score: Tensor, count: Tensor) -> Tensor:
        """(N, H, R, R): which blocks are not among the last."""
        last = torch.arange(score.shape[-1], device=score.device) >= count[:, None]
        rank = score.masked_fill(last[:, None, None], -torch.inf).argsort(-1, descending=True).argsort(-1)
        return rank < (count - (self.skipped * count).floor().long())[:, None, None, None]

    def _sums(self, q: Tensor, k: Tensor, v: Tensor, blocks: Regions, between: Tensor) -> Tensor:
        """Linear attention of every query to the blocks that `between` (N, H, R, R) holds; 0 where it holds none."""
        f_q, f_k = (z.unflatten(2, q.shape[2:4]) for z in self.feature(q.flatten(2, 3), k.flatten(2, 3)))
        f_k = f_k * blocks.real[:, None, ..., None]
        values = torch.cat([v, torch.ones_like(v[..., :1])], -1)
        state = between @ (f_k.mT @ values).flatten(3)  # (N, H, R, F * (E + 1))
        y = f_q @ state.unflatten(3, (f_k.shape[-1], -1))
        total = y[..., -1:]
        return y[..., :-1] / torch.where(total > 0, total, 1)
