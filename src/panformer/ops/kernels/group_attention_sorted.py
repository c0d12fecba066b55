"""group_attention with tokens sorted by group: what is near within a group is near in that order, so a strip of it and
its neighbours hold all pairs, in time and memory linear in length.

A strip of s queries sees the w - 1 places before it, and where both ways are seen after it, but none before the group of
its first query: strips that reach equally far are worked on together, a few at a time, so that their scores stay in the
cache. The backward pass keeps the inputs alone and makes the weights again. Sorting is a permutation, whose gradient
gathers by the inverse.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..backend import Kernel
from .attend_strips import scaled
from .room import at_once

LEAST = 4  # windows: a shorter sequence has few pairs more than its strips
FEW = 8  # queries that are sooner compared with all keys than sorted
STRIP = 64  # queries
TILE = 32  # keys, of which a strip sees a whole number; a strip is a multiple of it
KINDS = 4  # steps in which strips reach further to one side
TABLE = 512  # keys up to which a mask is copied from a table of all that there are
NOBODY = 1 << 30  # a group for places of no token, after all others


def refuses(q: Tensor, k: Tensor, v: Tensor, group: Tensor, window: int, causal: bool, scale: float) -> str | None:
    if q.shape[2] <= FEW and LEAST:
        return f"{q.shape[2]} queries: comparing them with all keys is quicker"
    length = k.shape[2]
    return f"length {length} is under {LEAST} windows of {window}" if length < LEAST * window else None


def run(q: Tensor, k: Tensor, v: Tensor, group: Tensor, window: int, causal: bool, scale: float) -> Tensor:
    if torch.compiler.is_compiling():  # strips follow the input: compiled code would be another for every batch
        apart: Tensor = torch.compiler.disable(_run)(q, k, v, group, window, causal, scale)
        return apart
    return _run(q, k, v, group, window, causal, scale)


def _run(q: Tensor, k: Tensor, v: Tensor, group: Tensor, window: int, causal: bool, scale: float) -> Tensor:
    length, many, kind = k.shape[2], q.shape[2], v.dtype
    if not v.numel():
        return v.new_zeros(*q.shape[:3], v.shape[3])
    none = group < 0
    q, k = F.pad(q.to(kind), (0, 0, length - many, 0)), k.to(kind)
    orders = [_Order(g, window, causal) for g in torch.where(none, NOBODY, group).unbind(2)]
    with torch.autocast(q.device.type, enabled=False):
        found = [o.attend(q, k, v, [p for p in orders if p is not o], scale) for o in orders]
        out = found[0][0]
        if len(found) > 1:
            norms = torch.stack([norm for _, norm in found if norm is not None], 2)
            norms = norms.masked_fill(none, torch.finfo(norms.dtype).min)  # under that of who is alone
            shares = norms.softmax(2).to(kind).unbind(2)
            out = torch.stack([s[..., None] * y for s, (y, _) in zip(shares, found, strict=True)]).sum(0)
    nobody = none.all(2)
    if _watched() or bool(nobody.any()):
        out = out.masked_fill(nobody[..., None], 0)
    return out[:, :, length - many :]


class _Strip(NamedTuple):
    """Strips (P,) that reach over as many keys, `lead` before them and `trail` after them, and the tiles of these keys."""

    which: Tensor
    tiles: Tensor
    lead: int
    trail: int


class _Order:
    """Groups (N, H, L) of one round, sorted: each row filled up to whole strips, one after the other, with room around."""

    def __init__(self, group: Tensor, window: int, causal: bool) -> None:
        n, h, length = group.shape
        order = group.argsort(dim=-1, stable=True)
        place = torch.arange(length, device=group.device).expand_as(order)
        spot = torch.empty_like(order).scatter_(-1, order, place)  # where a place went
        fill = -length % STRIP
        self.shape, self.window, self.causal = (n, length, h), window, causal
        self.step = TILE * max(1, -(-(window - 1) // (KINDS * TILE)))
        self.reach = -(-(window - 1) // self.step)  # steps
        self.room = -(-self.reach * self.step // STRIP) * STRIP
        row = torch.arange(n * h, device=group.device).view(n, h, 1)
        take = F.pad(order, (0, fill)) * h + row // h * (length * h) + row % h
        self.take = F.pad(take.flatten(), (self.room, self.room))  # of (N, L, H), for every place of this order
        self.back = (spot + row * (length + fill) + self.room).transpose(1, 2).flatten()  # the other way
        self._sights(F.pad(group.gather(-1, order), (0, fill), value=NOBODY))

    def _sights(self, group: Tensor) -> None:
        """The first and last place that each may see, and its rank, which differs by less than `window` for such pairs alone."""
        first = torch.ones_like(group, dtype=torch.bool)
        first[..., 1:] = (group[..., 1:] != group[..., :-1]) | (group[..., 1:] == NOBODY)
        first = first.flatten()
        places = first.numel()
        kind = torch.int32 if places * (self.window + 1) < 1 << 31 else torch.int64
        at = torch.arange(places, device=group.device, dtype=kind)
        self.rank = at + self.window * first.cumsum(0, dtype=kind)
        self.low = torch.where(first, at, 0).cummax(0).values.maximum(at - (self.window - 1)).view(-1, STRIP)
        if not self.causal:
            last = torch.where(first.roll(-1), at, places).flip(0).cummin(0).values.flip(0)
            self.high = last.minimum(at + (self.window - 1)).view(-1, STRIP)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, others: list[_Order], scale: float
    ) -> tuple[Tensor, Tensor | None]:
        """What this round alone finds (N, H, L, V) and, where there are others, its log(sum exp) (N, H, L)."""
        q, k, v = (self.sorted(x) for x in (q, k, v))
        ranks = [o.rank.index_select(0, o.back - o.room).index_select(0, self.take) for o in others]
        out, norm = _Strips.apply(q, k, v, self, ranks, scale)
        return self.placed(out), self.placed(norm[:, None])[..., 0] if others else None

    def sorted(self, x: Tensor) -> Tensor:
        """(N, H, L, E) -> (places, E)."""
        moved: Tensor = _Moved.apply(x.transpose(1, 2).flatten(0, 2), self.take, self.back)
        return moved

    def placed(self, x: Tensor) -> Tensor:
        """(places, E) -> (N, H, L, E)."""
        moved: Tensor = _Moved.apply(x, self.back, self.take)
        return moved.unflatten(0, self.shape).transpose(1, 2)

    def strips(self) -> Iterator[_Strip]:
        start = torch.arange(0, self.low.numel(), STRIP, device=self.low.device)
        if _watched():  # costs follow from shapes
            kinds = {(self.reach, 0 if self.causal else self.reach): torch.arange(len(start), device=start.device)}
        else:
            before = start - self.low[:, 0] + (self.step - 1)
            after = torch.zeros_like(start) if self.causal else self.high[:, -1] - start + (self.step - STRIP)
            kind = before // self.step * (KINDS + 1) + after // self.step
            kinds = {divmod(i, KINDS + 1): (kind == i).nonzero().flatten() for i in kind.unique().tolist()}
        for (lead, trail), which in kinds.items():
            lead, trail = lead * self.step, trail * self.step
            tiles = torch.arange((lead + STRIP + trail) // TILE, device=which.device)
            for some in which.split(at_once(STRIP * len(tiles) * TILE, which.device)):
                first = (self.room - lead + some * STRIP) // TILE
                yield _Strip(some, (first[:, None] + tiles).flatten(), lead, trail)


class _Strips(torch.autograd.Function):
    """q, k (places, E), v (places, V) -> softmax over what each sees (places, V), its log(sum exp) where there are ranks."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, order: _Order, ranks: list[Tensor], scale: float
    ) -> tuple[Tensor, Tensor | None]:
        ctx.save_for_backward(q, k, v, *ranks)
        ctx.rest = order, scale
        wide = torch.promote_types(q.dtype, torch.float32)
        out, norm = torch.empty_like(v), q.new_empty(len(q), dtype=wide) if ranks else None
        cut = _Cut(order, q, ranks, scale)
        for s in order.strips():
            score = cut.scores(q, k, s)
            if norm is not None:
                cut.put(norm, s, score.to(wide).logsumexp(-1))
            cut.put(out, s, torch.bmm(score.softmax(-1), cut.keys(v, s)))
        return out, norm

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, of_norm: Tensor | None) -> Any:
        q, k, v, *ranks = ctx.saved_tensors
        order, scale = ctx.rest
        dq = torch.empty_like(q)
        dk, dv = (torch.zeros_like(x, dtype=torch.promote_types(q.dtype, torch.float32)) for x in (k, v))
        cut = _Cut(order, q, ranks, scale)
        for s in order.strips():
            a, b, c, g = cut.queries(q, s), cut.keys(k, s), cut.keys(v, s), cut.queries(grad, s)
            weight = cut.scores(q, k, s).softmax(-1)
            cut.add(dv, s, torch.bmm(weight.mT, g))
            slope = torch._softmax_backward_data(torch.bmm(g, c.mT), weight, -1, q.dtype)
            if of_norm is not None:
                slope += weight * cut.queries(of_norm, s).to(q.dtype)
            cut.put(dq, s, scaled(slope, b, scale))
            cut.add(dk, s, scaled(slope.mT, a, scale))
        return dq, dk.to(k.dtype), dv.to(v.dtype), None, None, None


class _Cut:
    """Strips of places as products want them."""

    def __init__(self, order: _Order, q: Tensor, ranks: list[Tensor], scale: float) -> None:
        self.order, self.ranks, self.scale = order, ranks, scale
        self.start = order.room // STRIP
        self.tables: dict[int, Tensor] = {}
        self.own = q.new_zeros(STRIP, STRIP)  # added to scores of a strip with itself
        if order.causal:
            self.own.fill_(-torch.inf).triu_(1)
        self.own.fill_diagonal_(torch.finfo(q.dtype).min / 4)  # itself only where there is no other

    def queries(self, x: Tensor, s: _Strip) -> Tensor:
        """(places, E) -> (P, STRIP, E)."""
        return x.view(-1, STRIP * x[0].numel()).index_select(0, s.which + self.start).view(len(s.which), STRIP, -1)

    def keys(self, x: Tensor, s: _Strip) -> Tensor:
        """(places, E) -> (P, keys, E)."""
        e = x[0].numel()
        return x.view(-1, TILE * e).index_select(0, s.tiles).view(len(s.which), -1, e)

    def put(self, into: Tensor, s: _Strip, x: Tensor) -> None:
        """The inverse of `queries`."""
        into.view(-1, STRIP * into[0].numel()).index_copy_(0, s.which + self.start, x.flatten(1))

    def add(self, into: Tensor, s: _Strip, x: Tensor) -> None:
        """The inverse of `keys`, added up."""
        into = into.view(-1, TILE * into[0].numel())
        into.index_add_(0, s.tiles, x.view(len(s.tiles), -1).to(into.dtype))

    def scores(self, q: Tensor, k: Tensor, s: _Strip) -> Tensor:
        """(P, STRIP, keys), -inf where a key is not seen."""
        a, b = self.queries(q, s), self.keys(k, s)
        many, keys = b.shape[:2]
        first = s.which[:, None] * STRIP - s.lead
        score = self._hidden((self.order.low[s.which] - first).flatten(), keys, q)
        if not self.order.causal:
            score += self._hidden((first + keys - 1 - self.order.high[s.which]).flatten(), keys, q).flip(-1)
        score = score.view(many, STRIP, keys)
        score[..., s.lead : s.lead + STRIP] += self.own
        if self.ranks:
            score -= self._times(s, q).log().to(score.dtype)
        return score.baddbmm_(a, b.mT, alpha=self.scale)

    def _hidden(self, count: Tensor, keys: int, like: Tensor) -> Tensor:
        """(len(count), keys): -inf for so many keys from the first on, else 0. A copied row is quicker than a comparison."""
        if keys > TABLE:
            early = torch.arange(keys, device=count.device) < count[:, None]
            return like.new_zeros(early.shape).masked_fill_(early, -torch.inf)
        if keys not in self.tables:
            every = torch.arange(keys + 1, device=count.device)
            self.tables[keys] = like.new_zeros(keys + 1, keys).masked_fill_(every[:-1] < every[:, None], -torch.inf)
        return self.tables[keys].index_select(0, count)

    def _times(self, s: _Strip, like: Tensor) -> Tensor:
        """(P, STRIP, keys): in how many rounds a pair is near, this one counted as one of them."""
        times = torch.ones((), device=like.device, dtype=torch.promote_types(like.dtype, torch.float32))
        for rank in self.ranks:
            apart = self.queries(rank, s) - self.keys(rank, s).mT
            times = times + (apart.abs() < self.order.window)
        return times


class _Moved(torch.autograd.Function):
    """x[take], where x[take][back] = x: rows in another order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, take: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return x.index_select(0, take)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad.index_select(0, ctx.saved_tensors[0]), None, None


def _watched() -> bool:
    """Whether operations are counted, on tensors that may hold nothing."""
    return bool(torch._C._len_torch_dispatch_stack())


SORTED = Kernel("sorted", refuses, run)
