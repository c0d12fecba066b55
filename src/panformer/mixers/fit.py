"""FIT: tokens attend within their group, groups talk through a few latents."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Mixer, Norm, head_width
from ..core.grow import grown
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.score import Causal, Same, along
from ..core.shared import Shared
from ._groups import Cells, Groups, Look, UpTo, cut, grouped, take, whole
from ._past import joined, nothing, remembered


class Stream(NamedTuple):
    """What later tokens need of B sequences."""

    open: Tensor  # (B, S, D) the tokens of the group that is not full yet
    seen: Tensor  # (B, S) bool: which of its cells hold one
    last: Tensor  # (B, M, D) the latents of the last full group
    some: Tensor  # (B, 1) bool: whether there is one
    k: Tensor  # (B, H, L, E) keys of the latents of all full groups
    v: Tensor
    seg: Tensor
    pos: Tensor


class Fit(Mixer):
    """y = a + write(h, z), a = local(x), h = norm(x + a), z = w + all(norm(w)), w = z_0 + read(z_0, h).

    Tokens look around in groups of `size`; the `latents` of each group, which start as the learned z_0, read its tokens,
    look at the latents of all groups, and are read by its tokens. Without `size` a sequence of L tokens has groups of
    about L^(1/3), so that both kinds of attention cost L^(4/3). `causal`: tokens look back in their group and read the
    latents of the group before, latents look at those of no later group; a token at position p is in group p // size.
    Chen and Li 2023, who carry latents from block to block, where here each layer starts anew, and give them learned
    positions and channel networks.
    """

    paper = "Chen and Li 2023, FIT: far-reaching interleaved transformers"
    examples = (
        {"heads": 2, "latents": 1},
        {"heads": 2, "size": 2, "latents": 4, "bias": True, "norm": "rms"},
        {"heads": 4, "size": 2, "latents": 4, "causal": True},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        size: int | None = Field(None, gt=0, description="tokens of a group; null: by length, for models that see all")
        latents: int = Field(2, gt=0, description="of each group")
        causal: bool | None = None
        norm: Annotated[Base, Slot("norms")] = Field("layer", validate_default=True)
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        head_width(self, width, c.heads)
        if c.causal and c.size is None:
            raise InputError("fit: a causal one needs `size`: groups cannot depend on how long a sequence will be")
        if not c.norm.part.pointwise:
            raise InputError(f"fit: norm {c.norm.part.use()!r} looks at all tokens at once; within a mixer it must not")
        self.size, self.causal, self.heads = c.size, bool(c.causal), c.heads
        self.growth = "n^2" if c.size else "n^(4/3)"
        self.first = nn.Parameter(torch.randn(c.latents, width))
        self.local, self.read, self.all, self.write = (Look(width, c.heads, c.bias) for _ in range(4))
        self.norms = nn.ModuleList(c.norm.build(width) for _ in range(3))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        rows = at.to_rows(x)
        cells = at.derive(("groups", self.size, len(self.first), self.causal), lambda: self._cells(at))
        groups = cells.groups
        y, h = self._within(take(rows, cells.token), groups)
        used = groups.real.shape[1] - self.causal  # a last group's latents are for those to come
        z = self._between(h, groups, used)[0] if used else h.new_zeros(len(rows), 0, *self.first.shape)
        y = y + (self._back(h, z, groups) if not self.causal else self._forth(h, z, groups, *self._none(z)))
        return at.from_rows(take(y.flatten(1, 2), cells.cell))

    def start(self, batch: int, like: Tensor) -> Stream:
        if not self.causal or self.size is None:
            raise NotImplementedError("fit streams where it is causal")
        width = self.first.shape[1]
        empty = like.new_zeros(batch, self.heads, 0, width // self.heads)
        seen = torch.zeros(batch, self.size, dtype=torch.bool, device=like.device)
        last = like.new_zeros(batch, *self.first.shape)
        return Stream(
            like.new_zeros(batch, self.size, width), seen, last, seen[:, :1], empty, empty, *nothing(batch, like)
        )

    def chunk(self, x, at, state, shared=None):
        assert self.size is not None
        state = Stream(*state)
        count = at.valid.sum(1)
        order = (~at.valid).to(torch.int8).argsort(dim=1, stable=True)  # each row's tokens first
        rows = take(at.clean(x), order)
        begin = torch.where(count > 0, at.pos[..., 0].gather(1, order)[:, 0], 0)
        cells = cut(count, at.length, self.size, begin % self.size, begin // self.size, len(self.first))
        real = cells.groups.real.clone()
        real[:, 0] |= state.seen
        held = take(rows, cells.token).unflatten(1, real.shape[1:])
        held = torch.cat([torch.where(state.seen[:, None, :, None], state.open[:, None], held[:, :1]), held[:, 1:]], 1)
        groups = grouped(real, begin // self.size, len(self.first), False)
        y, h = self._within(held.flatten(1, 2), groups)
        full = real[..., -1] & (count > 0)[:, None]  # (B, R): a group is full once its last cell is
        used = int(full.sum(1).max())
        z, state = self._more(h, groups, full[:, :used], state)
        y = y + self._forth(h, z[:, : real.shape[1] - 1], groups, state.last, state.some)
        after = self._left(held, real, z, full, count > 0, state)
        return at.clean(take(take(y.flatten(1, 2), cells.cell), order.argsort(1))), after

    # ---- the four kinds of attention

    def _within(self, cells: Tensor, groups: Groups) -> tuple[Tensor, Tensor]:
        """(what the tokens of a group tell each other, what latents read): (N, R, S, D) each."""
        x = torch.where(groups.real.flatten(1)[..., None], cells, 0).unflatten(1, groups.real.shape[1:]).flatten(0, 1)
        score = Same() & Causal() if self.causal else Same()
        y = self.local(x, groups.tokens, self.local.keys(x), groups.tokens, score)
        h = self._norm(0, x + y, groups.tokens)
        return y.unflatten(0, groups.real.shape[:2]), h.unflatten(0, groups.real.shape[:2])

    def _between(
        self, h: Tensor, groups: Groups, used: int, past: tuple[Tensor, Tensor] | None = None, at: Layout | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """((N, used, M, D) latents of the first groups, the keys and values that they look at, `past` ones first)."""
        if used < groups.real.shape[1]:
            groups = grouped(groups.real[:, :used], groups.latents.pos[:, 0, 0], len(self.first), groups.tokens.full)
        h = h[:, :used].flatten(0, 1)
        z = self.first.expand(len(h), -1, -1)
        z = z + self.read(z, groups.owned, self.read.keys(h), groups.tokens, Same())
        z = z.unflatten(0, (-1, used)).flatten(1, 2)
        normed = self._norm(1, z, groups.latents)
        kv = self.all.keys(normed)
        if past is not None:
            kv = grown(past[0], kv[0], 2), grown(past[1], kv[1], 2)
        score = Same() & UpTo() if self.causal else Same()
        z = z + self.all(normed, groups.latents, kv, groups.latents if at is None else at, score)
        return self._norm(2, z, groups.latents).unflatten(1, (used, -1)), kv

    def _back(self, h: Tensor, z: Tensor, groups: Groups) -> Tensor:
        """(N, R, S, D): what tokens read from the latents of their group."""
        kv = self.write.keys(z.flatten(0, 1))
        y = self.write(h.flatten(0, 1), groups.tokens, kv, groups.owned, Same())
        return y.unflatten(0, h.shape[:2])

    def _forth(self, h: Tensor, z: Tensor, groups: Groups, last: Tensor, some: Tensor) -> Tensor:
        """As `_back`, from the latents of the group before; before the first group are `last`, if there are `some`."""
        z = torch.cat([last[:, None], z, z.new_zeros(len(z), h.shape[1] - 1 - z.shape[1], *last.shape[1:])], 1)
        seg = groups.owned.seg.unflatten(0, h.shape[:2])
        first = torch.where(some, seg[:, 0], -1)[:, None]
        owned = Layout(torch.cat([first, seg[:, 1:]], 1).flatten(0, 1), groups.owned.pos)
        return self._back(h, z, groups._replace(owned=owned))

    # ---- streams

    def _more(self, h: Tensor, groups: Groups, full: Tensor, state: Stream) -> tuple[Tensor, Stream]:
        """(latents of the groups that have become full (B, used, M, D), the state with their keys)."""
        used, marks = full.shape[1], len(self.first)
        if not used:
            return h.new_zeros(len(h), 0, *self.first.shape), state
        seg = torch.where(full, 0, -1)[..., None].expand(-1, -1, marks).flatten(1)
        at = joined((state.seg, state.pos), Layout(seg, groups.latents.pos[:, : used * marks]))
        z, (k, v) = self._between(h, groups, used, (state.k, state.v), at)
        seg, pos = remembered(at)
        return z, state._replace(k=k, v=v, seg=seg, pos=pos)

    def _left(self, held: Tensor, real: Tensor, z: Tensor, full: Tensor, came: Tensor, state: Stream) -> Stream:
        """The state after these tokens: the open group and the latents before it, of rows to which any came."""
        ended = full.sum(1)  # full groups come first
        row = torch.arange(len(held), device=held.device)
        now = ended.clamp(max=real.shape[1] - 1)
        seen = real[row, now] & (ended < real.shape[1])[:, None] & came[:, None] | state.seen & ~came[:, None]
        new = held[row, now]
        open_ = torch.where(seen[..., None], torch.where(came[:, None, None], new, state.open), 0)
        if not z.shape[1]:
            return state._replace(open=open_, seen=seen)
        last = torch.where((ended > 0)[:, None, None], z[row, (ended - 1).clamp(min=0)], state.last)
        return state._replace(open=open_, seen=seen, last=last, some=state.some | (ended > 0)[:, None])

    # ---- places

    def _cells(self, at: Layout) -> Cells:
        marks, rows = len(self.first), at.as_rows()
        size: int | Tensor
        if self.size is not None:
            size = self.size
        elif at.full:
            size = max(1, round(at.length ** (1 / 3)))
        else:
            size = at.lengths.double().pow(1 / 3).round().long().clamp(min=1)
        if self.causal:
            along(at)
            begin = rows.pos[:, 0, 0]
        else:
            begin = torch.zeros(rows.batch, dtype=torch.int64, device=at.device)
            if at.full and isinstance(size, int) and at.length % size == 0:
                return whole(at.batch, at.length, size, marks, at.device)
        return cut(at.lengths, rows.length, size, begin % size, begin // size, marks)

    def _none(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Before the first group: no latents."""
        return z.new_zeros(len(z), *self.first.shape), torch.zeros(len(z), 1, dtype=torch.bool, device=z.device)

    def _norm(self, i: int, x: Tensor, at: Layout) -> Tensor:
        norm = self.norms[i]
        assert isinstance(norm, Norm)
        return norm(x, at)
