"""Latent attention that keeps one latent for several tokens: neighbours are merged by weights that a small network gives."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..core.families import linear
from ..core.grow import grown
from ..core.layout import Layout, exporting
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.score import along
from ..core.shared import Shared
from ..core.sparse import Marks, Near, Seen
from ..ops.rotary import sinusoid
from ..ops.running_sum import running_sum
from ._latent import Latent
from ._past import joined, nothing, remembered

BASE = 10_000.0  # of the waves that say which chunk it is


class TemporalLatentAttention(Latent):
    """Latent attention over m_j = sum of w_i c_i for i in a chunk, i <= j; w_i = sigmoid(<A wave(chunk), B c_i>).

    Chunks are `stride` = s positions, c and the rest are as in latent attention. Token j sees its own m_j, all that its
    chunk has so far, and m at the last token of every earlier chunk, each with the turned part of the key at its place.
    So the state holds one latent and one turned part for s tokens, and the sum of the chunk that is not yet full. With
    `merge: last` m_j = c_j: plain striding, the control. At s = 1 it is latent attention with w_i c_i for c_i.
    Deng and Woodland 2025.
    """

    paper = "Deng and Woodland 2025, Multi-head temporal latent attention"
    causal = True
    examples = (
        {"heads": 2},
        {"heads": 2, "stride": 3, "kv_rank": 5, "turned_width": 6, "position": "rope", "q_rank": 7, "bias": True},
        {"heads": 3, "stride": 4, "head_width": 3, "value_width": 5, "merge": "last", "norm": "rms"},
        {"heads": 2, "stride": 1, "scale": 0.3},
    )

    class Config(Latent.Options):
        norm: Annotated[Base, Slot("norms")] = Field("layer", validate_default=True)
        stride: int = Field(2, gt=0, description="tokens whose latents become one")
        merge: Literal["weighed", "last"] = Field("weighed", description="a weighed sum, or the last latent alone")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c, width, True)
        self.stride, self.plain = c.stride, self.mask
        self.mask = self.plain & (Seen(Near(1)) | Seen(Marks(c.stride, 1)))
        inner = max(1, self.rank // 4)
        self.chunk_weight = linear(self.rank, inner) if c.merge == "weighed" else None  # A
        self.token_weight = linear(self.rank, inner) if c.merge == "weighed" else None  # B

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        latent, turned = self._latent(x, at)
        return self._whole(x, at, self._merged(latent, at, None), turned)

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, ...]:
        full = like.new_zeros(batch, 0, self.rank), like.new_zeros(batch, 0, self.turned)
        return *full, like.new_zeros(batch, self.rank), *nothing(batch, like)

    def chunk(self, x, at, state, shared=None):
        x = at.clean(x)
        latent, turned, begun, *past = state
        new, new_turned = self._latent(x, at)
        new = self._merged(new, at, begun)
        lines = torch.cat((latent, new), 1), torch.cat((turned, new_turned), 1)
        mask = self.plain if at.length == 1 else self.mask  # to one token all that is kept is visible
        y = self._meet(x, at, *lines, joined(tuple(past), at), mask)
        which, ends = at.derive(("full chunks", self.stride), lambda: _full(at, self.stride))
        if which.shape[1]:
            latent, turned = grown(latent, _taken(new, which), 1), grown(turned, _taken(new_turned, which), 1)
            past = remembered(joined(tuple(past), ends))
        return y, (latent, turned, new[:, -1].to(begun.dtype), *past)

    def _merged(self, latent: Tensor, at: Layout, begun: Tensor | None) -> Tensor:
        """m (B, T, rank), of a chunk that has `begun` (B, rank) or, without it, from the start of every sequence.

        Padding adds nothing, so that its m is that of the last token before it.
        """
        along(at)
        if self.chunk_weight is None or self.token_weight is None:
            return latent
        wave = at.derive(("chunk waves", self.stride, self.rank), lambda: self._wave(at)).to(latent.dtype)
        weight = torch.sigmoid((self.chunk_weight(wave) * self.token_weight(latent)).sum(-1, keepdim=True))
        fresh = at.valid & (at.pos[..., 0] % self.stride == 0)
        return running_sum(at.clean(weight * latent), fresh | at.starts if begun is None else fresh, begun)

    def _wave(self, at: Layout) -> Tensor:
        return sinusoid(at.pos // self.stride, self.rank + self.rank % 2, BASE)[..., : self.rank]


def _full(at: Layout, stride: int) -> tuple[Tensor, Layout]:
    """Columns (B, M) of the tokens that fill a chunk, in order, and their layout; rows with fewer end in padding."""
    filled = at.valid & (at.pos[..., 0] % stride == stride - 1)
    count = filled.sum(1)
    most = at.length if exporting() else int(count.max())
    which = (~filled).to(torch.int8).argsort(stable=True)[:, :most]
    real = torch.arange(most, device=at.device) < count[:, None]
    seg = torch.where(real, at.seg.gather(1, which), -1)
    pos = at.pos.gather(1, which[..., None])
    return which, Layout(seg, pos, full=at.full and not exporting() and bool(real.all()))


def _taken(x: Tensor, which: Tensor) -> Tensor:
    """x (B, T, E) at the columns (B, M): (B, M, E)."""
    return x.gather(1, which[..., None].expand(-1, -1, x.shape[2]))
