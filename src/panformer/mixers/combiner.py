"""Combiner: attention to the own block token by token, and to all others through summaries of their blocks."""

from __future__ import annotations

from bisect import bisect

import torch
from pydantic import Field
from torch import Tensor

from ..core.families import Mixer, head_width, linear
from ..core.grow import grown
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.score import along
from ..core.shared import Shared
from ..core.sparse import POWERS
from ..ops.attend import merge_heads, split_heads
from ..ops.maps import together
from ..ops.region_attention import region_attention, summaries, with_summaries
from ._past import joined, nothing, remembered


class Combiner(Mixer):
    """o(sum_j p(j | i) v_j), p(j | i) direct in i's block, else p(block | i) p(j | block): no weight is 0.

    p(block | i) competes with the direct keys in one softmax, by the largest values of the block's keys; p(j | block)
    is a softmax for the largest values of its queries, the same for all i. Blocks of `block` places, else of the least
    power of two whose square is above i. Ren et al. 2021. Streaming keeps queries, keys and values of all tokens.
    """

    paper = "Ren et al. 2021, Combiner: full attention transformer with sparse computation cost"
    examples = (
        {"heads": 2, "causal": True},
        {"heads": 4, "block": 3, "causal": True, "bias": True},
        {"heads": 2},
        {"heads": 2, "block": 4},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        block: int | None = Field(None, gt=0, description="tokens; default: about the square root of the position")
        causal: bool | None = None
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        head_width(self, width, c.heads)
        self.heads, self.block, self.causal = c.heads, c.block, bool(c.causal)
        self.growth = "n^1.5" if c.block is None else "n^2"
        self.q, self.k, self.v, self.o = (linear(width, width, c.bias) for _ in range(4))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        q, k, v = (at.to_rows(z) for z in together(at.clean(x), self.q, self.k, self.v))
        rows = at.as_rows()
        return at.from_rows(self._mix(q, q, k, v, rows, rows))

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, ...]:
        empty, wide = like.new_zeros(batch, 0, like.shape[-1]), torch.promote_types(like.dtype, torch.float32)
        none = like.new_zeros(batch, self.heads, 0, like.shape[-1] // self.heads, dtype=wide)
        return empty, empty, empty, none, none, *nothing(batch, like)

    def chunk(self, x, at, state, shared=None):
        *past, keys, told, seg, pos = state
        new = together(at.clean(x), self.q, self.k, self.v)
        p, k, v = (grown(a, b, 1) for a, b in zip(past, new, strict=True))
        kept = joined((seg, pos), at)
        start, stop = kept.length - at.length, kept.length
        size = self._side(stop - 1)
        same = start > 0 and self._side(start - 1) == size
        ordered = kept.derive("in order", lambda: _in_order(kept))
        if not (same and ordered):
            keys, told = keys[:, :, :0], told[:, :, :0]
        if ordered:
            keys, told = self._summed(p, k, v, keys, told, size)
        if same and ordered and 0 < at.length <= start:  # else most of the places are new
            y = self._read(new[0], k, v, keys, told, size)
        else:
            y = self._mix(new[0], p, k, v, at, kept)
        return y, (p, k, v, keys, told, *remembered(kept))

    def _side(self, i: int) -> int:
        """Places of a block of the query at i."""
        return self.block or 2 ** bisect(POWERS, i)

    def _summed(self, p: Tensor, k: Tensor, v: Tensor, keys: Tensor, told: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """The summaries of all finished blocks, of which the first are there."""
        here = slice(keys.shape[2] * size, k.shape[1] // size * size)
        if here.start == here.stop:
            return keys, told
        k, v, p = (split_heads(z[:, here], self.heads).to(keys.dtype) for z in (k, v, p))
        new = summaries(k, v, p, size, k.shape[-1] ** -0.5)
        return grown(keys, new[0], 2), grown(told, new[1], 2)

    def _read(self, q: Tensor, k: Tensor, v: Tensor, keys: Tensor, told: Tensor, size: int) -> Tensor:
        """The answers to the last tokens q (B, T, D) of rows without gaps, block by block."""
        stop, out = k.shape[1], []
        i = start = stop - q.shape[1]
        while i < stop:
            r = i // size
            end = min(stop, (r + 1) * size)
            pieces = q[:, i - start : end - start], k[:, r * size : end], v[:, r * size : end]
            a, b, c = (split_heads(z, self.heads).to(keys.dtype) for z in pieces)
            out.append(with_summaries(a, b, c, keys[:, :, :r], told[:, :, :r], a.shape[-1] ** -0.5))
            i = end
        return self.o(merge_heads(torch.cat(out, 2)).to(q.dtype))

    def _mix(self, q: Tensor, p: Tensor, k: Tensor, v: Tensor, q_at: Layout, at: Layout) -> Tensor:
        """q (N, T, D) at q_at; p, k, v (N, S, D) at `at`: each token goes to the place its position names."""
        along(q_at)
        (low, high), begin = _span(at), _span(q_at)[0]
        first = low - low % self.block if self.block else 0  # blocks count from position 0
        begin = max(begin, first)
        table, valid = at.derive(("places", first, high), lambda: _table(at, first, high))
        own, _ = q_at.derive(("places", begin, high), lambda: _table(q_at, begin, high))
        q, p, k, v = (split_heads(_put(z, t), self.heads) for z, t in ((q, own), (p, table), (k, table), (v, table)))
        y = merge_heads(region_attention(q, k, v, p, valid, self.block, self.causal, q.shape[-1] ** -0.5))
        back = (q_at.pos[..., 0] - begin).clamp(0, y.shape[1] - 1)
        return self.o(torch.take_along_dim(y, back[..., None], 1))


def _in_order(at: Layout) -> bool:
    """Whether every row holds the positions from 0 on, and no padding."""
    place = at.pos[..., 0]
    return at.full and at.length > 0 and bool((place[:, 0] == 0).all() and (place[:, -1] == at.length - 1).all())


def _span(at: Layout) -> tuple[int, int]:
    """(the first position of any token, the one after the last)."""

    def make() -> tuple[int, int]:
        place = at.pos[..., 0][at.valid.expand(at.pos.shape[:2])]
        return (int(place.min()), int(place.max()) + 1) if len(place) else (0, 1)

    return at.derive("span", make)


def _table(at: Layout, first: int, stop: int) -> tuple[Tensor, Tensor]:
    """((N, stop - first) column of the token at each position, (N, stop - first) whether there is one)."""
    places = stop - first
    place = torch.where(at.valid, at.pos[..., 0] - first, places)
    column = torch.arange(1, at.length + 1, device=at.device).expand_as(place)
    found = column.new_zeros(len(place), places + 1).scatter(1, place, column)[:, :places]
    return (found - 1).clamp(min=0), found > 0


def _put(x: Tensor, table: Tensor) -> Tensor:
    """(N, T, D) -> (N, places, D)."""
    return torch.take_along_dim(x, table[..., None], 1)
