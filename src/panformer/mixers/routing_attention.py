"""Attention within clusters of tokens, whose centres follow the tokens as k-means does."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..core.families import linear
from ..core.layout import Layout
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads
from ..ops.block_attention import block_attention
from ..ops.clusters import best, centred, nearest, settled
from ..ops.hashing import rearrange
from ._alike import Alike, rows


class RoutingAttention(Alike):
    """Two-sided: o(mean over clusters of softmax(q k' / sqrt(E)) v), each of the `window` queries and keys nearest to its
    centre; a token that is in none adds nothing. Causal: softmax over the last `window` tokens nearest to the same centre
    as the token, k = q / |q|, itself only where there is no other. Roy et al. 2021.

    Nearest is by the product of a unit vector with a centre. Which tokens are the nearest of all is not known before the
    last one, so the causal form takes each token's own centre. Without `window` clusters hold n / clusters tokens,
    causal ones all. In training a centre moves by 1 - `decay` towards the mean direction of the tokens nearest to it,
    from the clusters of the first batch; there is no gradient into the choice, and no loss for it.
    """

    paper = "Roy et al. 2021, Efficient content-based sparse attention with routing transformers"
    examples = (
        {"heads": 2, "clusters": 3},
        {"heads": 4, "clusters": 4, "window": 3, "bias": True, "position": "rope"},
        {"heads": 2, "clusters": 3, "window": 4, "causal": True, "position": "rope"},
        {"heads": 2, "clusters": 2, "causal": True},
    )
    means: Tensor  # (H, C, E)
    batches: Tensor  # (1,) int64, of training, seen so far

    class Config(Alike.Options):
        clusters: int = Field(16, gt=0, description="about the root of the length")
        window: int | None = Field(None, gt=0, description="members of a cluster that are seen; default: see above")
        decay: float = Field(0.999, ge=0, lt=1, description="of the centres")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c, width, c.window, c.clusters)
        self.decay = c.decay
        self.k = None if self.causal else linear(width, width, c.bias)
        self.register_buffer("means", F.normalize(torch.randn(c.heads, c.clusters, self.size), dim=-1))
        self.register_buffer("batches", torch.zeros(1, dtype=torch.int64))

    def group(self, x: Tensor) -> Tensor:
        return nearest(x, self.means.to(x.dtype))[..., None]

    @torch.no_grad()
    def routed(self, x: Tensor, at: Layout) -> Tensor:
        """`group` by the centres as they are before this batch moves them."""
        first = self.training and self.settle(x, at)
        group = self.group(x)
        if self.training and not first:
            self.move(x, group[..., 0], at)
        return group

    @torch.no_grad()
    def settle(self, x: Tensor, at: Layout) -> bool:
        """Put the centres where the unit vectors (B, H, T, E) of the first batch have theirs; whether this is the first."""
        first = not bool(self.batches)
        if first:
            self.means.copy_(settled(_tokens(x, at).to(self.means.dtype), self.means.shape[1]))
        self.batches += 1
        return first

    @torch.no_grad()
    def move(self, x: Tensor, own: Tensor, at: Layout) -> None:
        """Move the centres towards the unit vectors (B, H, T, E) that have them for their `own` (B, H, T)."""
        towards = centred(_tokens(x, at), _tokens(own, at), self.means)
        self.means.copy_(F.normalize(self.decay * self.means + (1 - self.decay) * towards, dim=-1))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        if self.k is None:
            return super().forward(x, at, shared)
        x = at.clean(x)
        q, k, v = (split_heads(m(x), self.heads) for m in (self.q, self.k, self.v))
        ones = [F.normalize(z.detach(), dim=-1) for z in (q, k)]
        if self.training:
            self.routed(torch.cat(ones, 2), at.then(at))
        if self.position is not None:
            q, k = self.position.rotate(q, at), self.position.rotate(k, at)
        q, k, v, *ones = (rows(z, at) for z in (q, k, v, *ones))
        y = self._clusters(q, k, v, ones, at)
        return self.o(at.from_rows(merge_heads(y)))

    def _clusters(self, q: Tensor, k: Tensor, v: Tensor, ones: list[Tensor], at: Layout) -> Tensor:
        """q, k, v and what q and k are routed by, (N, H, L, E) each -> (N, H, L, E)."""
        means, count = self.means.to(q.dtype), at.lengths
        most = (count + self.groups - 1) // self.groups if self.window is None else count.clamp(max=self.window)
        size = -(-at.longest // self.groups) if self.window is None else min(self.window, at.longest)
        (asks, here), (looks, there) = (best(z, means, count, most, size) for z in ones)
        of = [rearrange(z, i.flatten(2)).unflatten(2, i.shape[2:]) for z, i in ((q, asks), (k, looks), (v, looks))]
        own = torch.arange(self.groups, device=q.device).expand(*q.shape[:2], -1)
        y = block_attention(*of, there, own, own, None) * here[..., None]
        place = asks.flatten(2)[..., None]
        total = torch.zeros_like(v).scatter_add(2, place.expand(-1, -1, -1, v.shape[-1]), y.flatten(2, 3))
        times = torch.zeros_like(v[..., :1]).scatter_add(
            2, place, here.expand(asks.shape).flatten(2)[..., None].to(v.dtype)
        )
        return total / times.clamp(min=1)


def _tokens(x: Tensor, at: Layout) -> Tensor:
    """(B, H, T, ...) -> (P, H, ...): those of all sequences."""
    x = x.transpose(1, 2)
    return x.flatten(0, 1) if at.full else x[at.valid.expand(at.seg.shape)]
