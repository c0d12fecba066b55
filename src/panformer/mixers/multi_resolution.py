"""Attention at two resolutions: the blocks of the largest coarse scores exactly, all others by their means."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.block_attention import block_attention, chosen, top_of_all
from ..ops.online_softmax import OnlineSoftmax, part
from ..ops.regions import Regions, cut


class MultiResolution(Mixer):
    """o(A v / A 1), A_ij = exp(q_i k_j' / sqrt(E)) in the m finest blocks, else exp(mean q mean k' / sqrt(E)).

    Means are over the block that holds i or j. Of R x R blocks the m = R * `top` are exact whose coarse score is
    least below the largest of their row, as in the authors' code. Without `rest` all others are left out: MRA-2-s.
    Blocks hold `size` tokens; without it about sqrt(n) of n, and cost grows as n^1.5, with it as n^2 in the end.
    Zeng et al. 2022, MRA-2.
    """

    paper = "Zeng et al. 2022, Multi resolution analysis (MRA) for approximate self-attention"
    growth = "n^1.5"
    examples = (
        {"heads": 2, "top": 2},
        {"heads": 4, "top": 1, "size": 2, "bias": True},
        {"heads": 2, "top": 3, "rest": False},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        top: int = Field(4, gt=0, description="exact blocks for each block of queries, in the mean")
        size: int | None = Field(None, gt=0, description="tokens per block; default: from the length")
        rest: bool = Field(True, description="whether blocks that are not exact count by their means")
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        head_width(self, width, c.heads)
        self.heads, self.top, self.size, self.rest = c.heads, c.top, c.size, c.rest
        self.growth = "n^1.5" if c.size is None else "n^2"
        self.q, self.k, self.v, self.o = (linear(width, width, c.bias) for _ in range(4))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        q, k, v, blocks = self.q(x), self.k(x), self.v(x), cut(at, self.size)
        h = self.heads
        seen = [self.mix(b.take(q, h), b.take(k, h), b.take(v, h), b) for b in blocks.parts]
        return self.o(blocks.give(seen, at))

    def mix(self, q: Tensor, k: Tensor, v: Tensor, blocks: Regions) -> Tensor:
        """What stands for softmax(q k' / sqrt(E)) v: (N, H, R, S, E) of all blocks."""
        coarse = blocks.mean(q) @ blocks.mean(k).mT * q.shape[-1] ** -0.5  # (N, H, R, R)
        absent = ~blocks.real.any(-1)[:, None, None]
        highest = coarse.masked_fill(absent, -torch.inf).amax(-1, keepdim=True)
        pairs = top_of_all(coarse - highest, blocks.filled, self.top)
        rest = None
        if self.rest:
            many = blocks.real.sum(-1)[:, None, None]  # (N, 1, 1, R): a block stands for so many keys
            out = absent | chosen(*pairs, q.shape[2])
            piece = part((coarse + many.clamp(min=1).log().to(q.dtype)).masked_fill(out, -torch.inf), blocks.mean(v))
            rest = _spread(piece, q.shape[3])
        return block_attention(q, k, v, blocks.real[:, None], *pairs, rest)


def _spread(piece: OnlineSoftmax, size: int) -> OnlineSoftmax:
    """One piece for each block, for every token of it: (N, H, R) -> (N, H, R, size)."""
    top, total = (z[..., None].expand(-1, -1, -1, size) for z in piece[:2])
    return OnlineSoftmax(top, total, piece.out[..., None, :].expand(-1, -1, -1, size, -1))
