"""Attention from a sample: what hashing finds exactly, the other keys by a few, drawn by how much they count."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads
from ..ops.block_attention import block_attention
from ..ops.hashing import angular_rank, order, planes, rearrange
from ..ops.importance import draw
from ..ops.online_softmax import OnlineSoftmax, part


class KDEFormer(Mixer):
    """o(u v / u 1), u_ij = e_ij in the bucket of query i, else e_ij / (m p_j) at m drawn keys, e = exp(q k' / sqrt(E)).

    Queries and keys are sorted by an angular hash of `bits` planes and cut into buckets of `bucket`; bucket r of the
    queries sees bucket r of the keys. p is half |v_j|^2 and half the squared column norms of the softmax matrix, each
    over its sum. The norms are a density estimate from the exact rows of `probes` queries, evenly spread. `by: values`
    takes 1/n for them, as the authors' code nearly does, `by: none` takes 1/n for p. All draws follow from `seed`,
    the same in every call. A sequence of at most `samples` or `bucket` tokens is attended to exactly.
    Zandieh et al. 2023, the practical form.
    """

    paper = "Zandieh et al. 2023, KDEformer: accelerating transformers via kernel density estimation"
    examples = (
        {"heads": 2, "bucket": 4, "samples": 6, "probes": 3},
        {"heads": 4, "bucket": 3, "samples": 5, "by": "values", "bits": 3, "seed": 1, "bias": True},
        {"heads": 2, "bucket": 2, "samples": 4, "by": "none"},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        bucket: int = Field(64, gt=0, description="keys that a query sees exactly")
        samples: int = Field(128, gt=0, description="keys drawn for all queries of a sequence")
        by: Literal["columns", "values", "none"] = "columns"
        probes: int = Field(32, gt=0, description="queries whose rows estimate the column norms")
        bits: int = Field(7, gt=0, lt=32, description="planes of the hash")
        seed: int = Field(0, ge=0, description="of the planes and the draws")
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        head_width(self, width, c.heads)
        self.config, self.heads = c, c.heads
        self.q, self.k, self.v, self.o = (linear(width, width, c.bias) for _ in range(4))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        q, k, v = (split_heads(at.to_rows(m(x)), self.heads) for m in (self.q, self.k, self.v))
        y = self.mix(q, k, v, at.lengths)
        return self.o(at.from_rows(merge_heads(y)))

    def mix(self, q: Tensor, k: Tensor, v: Tensor, count: Tensor) -> Tensor:
        """What stands for softmax(q k' / sqrt(E)) v: (N, H, L, E) of rows that start with their count (N,) tokens."""
        size, length = self.config.bucket, q.shape[2]
        q, k, v = (F.pad(z, (0, 0, 0, -length % size)) for z in (q, k, v))
        real = (torch.arange(q.shape[2], device=q.device) < count[:, None])[:, None]  # (N, 1, L)
        normals = planes(self.heads, q.shape[-1], self.config.bits, self.config.seed, q)
        asked, seen = (order(angular_rank(z, normals), real) for z in (q, k))
        chance = self._chance(q, k, v, real, count).expand(-1, self.heads, -1).gather(-1, seen)
        q, k, v = rearrange(q, asked), rearrange(k, seen), rearrange(v, seen)
        rest = self._sampled(q, k, v, chance, count)
        q, k, v = (z.unflatten(2, (-1, size)) for z in (q, k, v))
        own = torch.arange(q.shape[2], device=q.device).expand(*q.shape[:3])
        rest = OnlineSoftmax(*(z.unflatten(2, (-1, size)) for z in rest))
        y = block_attention(q, k, v, real.unflatten(2, (-1, size)), own, own, rest).flatten(2, 3)
        return rearrange(y, asked.argsort(-1))[:, :, :length]

    def _chance(self, q: Tensor, k: Tensor, v: Tensor, real: Tensor, count: Tensor) -> Tensor:
        """(N, H|1, L): how likely each key is to be drawn, 0 where there is none."""
        wide = torch.promote_types(v.dtype, torch.float32)
        even = real.to(wide) / count[:, None, None]
        if self.config.by == "none":
            return even
        columns = even
        if self.config.by == "columns":
            which = torch.arange(self.config.probes, device=q.device) * count[:, None] // self.config.probes
            rows = rearrange(q, which[:, None].expand(-1, self.heads, -1)).to(wide) @ k.to(wide).mT
            rows = (rows * q.shape[-1] ** -0.5).masked_fill(~real[:, :, None], -torch.inf).softmax(-1)
            columns = rows.square().sum(2)
            columns = columns / columns.sum(-1, keepdim=True)
        norms = v.to(wide).square().sum(-1)
        norms = norms + torch.finfo(wide).tiny * real  # values that are all 0 count evenly
        return (columns + norms / norms.sum(-1, keepdim=True)) / 2

    def _sampled(self, q: Tensor, k: Tensor, v: Tensor, chance: Tensor, count: Tensor) -> OnlineSoftmax:
        """What queries see of the drawn keys that are not in their bucket."""
        c = self.config
        place, weight = draw(chance, count, c.samples, c.seed)
        score = q @ rearrange(k, place).mT * q.shape[-1] ** -0.5 + weight[:, :, None].to(q.dtype)
        mine = torch.arange(q.shape[2], device=q.device)[:, None] // c.bucket == (place // c.bucket)[:, :, None]
        return part(score.masked_fill(mine, -torch.inf), rearrange(v, place))
