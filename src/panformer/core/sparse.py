"""Sparsity as data: what a position may look at, and the rows of a gather that covers it without the dense matrix.

A `Sight` is one rule on positions. `Sparse` is the score made of them: every head has its own sights, which join into
one mask, or count one by one. The sizes of some may be None: then that of query i is `side(i)`, about sqrt(i), which
makes n sqrt(n) pairs of a length n and never changes what an earlier token saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from .layout import Layout
from .score import Mask, Score, along

POWERS = tuple(4**k for k in range(31))
TILE = 256  # queries of a long row that share their keys: those before them are no work


class Rows(NamedTuple):
    """Positions of queries and of all keys that they may look at; -1 for none."""

    q: Tensor  # (R, a) int64, no position twice
    k: Tensor  # (R, m) int64, no position twice in a row


class Sight:
    """One rule on positions."""

    exact: ClassVar[bool] = True  # whether `rows` have no pair that is not seen, but for the order

    def sees(self, i: Tensor, j: Tensor) -> Tensor:
        """Whether queries at i look at keys at j, by broadcasting; int64 -> bool."""
        raise NotImplementedError

    def rows(self, n: int, causal: bool) -> Iterator[Rows]:
        """Rows that have every pair of positions 0 .. n-1 that is seen, and every query at most once among them."""
        raise NotImplementedError

    def waits(self, j: Tensor, now: Tensor) -> Tensor:
        """Whether a query at `now` or later may look at a key at j <= now."""
        return torch.ones_like(j, dtype=torch.bool)


@dataclass(frozen=True)
class Near(Sight):
    """Fewer than `size` positions away."""

    exact = False
    size: int | None

    def sees(self, i, j):
        return (i - j).abs() < side(i, self.size)

    def rows(self, n, causal):
        for start, stop, size in bands(n, self.size):
            own = _tiles(start, stop, size)
            first = own[:, :1] - size
            yield Rows(_within(own, start, stop), _within(_from(first, (2 if causal else 3) * size), 0, n))

    def waits(self, j, now):
        return j > now - side(now, self.size) * (1 if self.size else 2)  # a side that doubles looks further back


@dataclass(frozen=True)
class Block(Sight):
    """In the same block of `size` positions."""

    size: int | None

    def sees(self, i, j):
        size = side(i, self.size)
        return i // size == j // size

    def rows(self, n, causal):
        for start, stop, size in bands(n, self.size):
            own = _tiles(start, stop, size)
            yield Rows(_within(own, start, stop), _within(own, 0, n))

    def waits(self, j, now):
        if self.size is None:
            return Near(None).waits(j, now)
        return j // self.size == now // self.size


@dataclass(frozen=True)
class Column(Sight):
    """A multiple of `size` positions away."""

    size: int | None

    def sees(self, i, j):
        return (i - j) % side(i, self.size) == 0

    def rows(self, n, causal):
        for start, stop, size in bands(n, self.size):
            top = stop if causal else n
            every = torch.arange(top + -top % size).view(-1, size).T
            yield Rows(_within(every[:, start // size :], start, stop), _within(every, 0, top))


@dataclass(frozen=True)
class Marks(Sight):
    """The last `count` positions of every block of `size`; None: of the size that the block's own queries have."""

    size: int | None
    count: int

    def sees(self, i, j):
        return self._marked(j).expand(torch.broadcast_shapes(i.shape, j.shape))

    def rows(self, n, causal):
        for start, stop, size in bands(n, self.size):
            every = torch.arange(stop if causal else n)
            own = _tiles(start, stop, size)
            yield Rows(_within(own, start, stop), every[self._marked(every)].expand(len(own), -1))

    def waits(self, j, now):
        return self._marked(j)

    def _marked(self, j: Tensor) -> Tensor:
        size = side(j, self.size)
        return j % size >= size - self.count


@dataclass(frozen=True)
class Dilated(Sight):
    """In the same segment of `size`, both at place `offset` of every `rate`."""

    size: int
    rate: int
    offset: int = 0

    def sees(self, i, j):
        here = (i % self.rate == self.offset) & (j % self.rate == self.offset)
        return here & (i // self.size == j // self.size)

    def rows(self, n, causal):
        size = min(self.size, n + -n % self.rate)
        at = _within(_tiles(0, n, size)[:, self.offset :: self.rate], 0, n)
        for a in range(0, at.shape[1], TILE):
            yield Rows(at[:, a : a + TILE], at[:, : a + TILE] if causal else at)

    def waits(self, j, now):
        return (j % self.rate == self.offset) & (j // self.size == now // self.size)


@dataclass(frozen=True)
class First(Sight):
    """One of the two is among the first `size` positions."""

    size: int

    def sees(self, i, j):
        return (i < self.size) | (j < self.size)

    def rows(self, n, causal):
        own = torch.arange(min(self.size, n))[None]
        yield Rows(own, own if causal else torch.arange(n)[None])
        if n > self.size:
            later = _within(_tiles(self.size, n, TILE), self.size, n)
            yield Rows(later, own.expand(len(later), -1))

    def waits(self, j, now):
        return j < self.size


@dataclass(frozen=True)
class Drawn(Sight):
    """In one of `count` earlier blocks of `size` positions, drawn for every block from `seed`; one may come twice."""

    size: int
    count: int
    seed: int

    def sees(self, i, j):
        return (self._table(i // self.size) == (j // self.size)[..., None]).any(-1)

    def rows(self, n, causal):
        own = _tiles(0, n, self.size)
        table = self._table(own[:, 0] // self.size)
        again = (table[:, :, None] == table[:, None]).tril(-1).any(-1)
        keys = torch.arange(self.size) + self.size * table[..., None]
        yield Rows(_within(own, 0, n), keys.masked_fill((again | (table < 0))[..., None], -1).flatten(1))

    def _table(self, block: Tensor) -> Tensor:
        """(...) ids of blocks -> (..., count) ids of earlier ones, -1 where there is none: a mix of the bits."""
        draw = torch.arange(self.count, device=block.device) + self.count * (self.seed + 1)
        x = block[..., None] * 7_368_787 + draw * 2_750_159
        for shift in (16, 13, 16):
            x = ((x ^ (x >> shift)) * 73_244_475) & 0x7FFFFFFF
        return torch.where(block[..., None] > 0, x % block[..., None].clamp(min=1), -1)


@dataclass(frozen=True)
class Sparse(Score):
    """0 where a sight of the head sees, -inf elsewhere. `counted`: log of how many of them do."""

    heads: tuple[tuple[Sight, ...], ...]  # the sights of every head
    counted: bool = False

    def value(self, q, k):
        along(q)
        along(k)
        if q is k:
            return q.derive(("sparse", self), lambda: self._value(q, k))
        return self._value(q, k)

    def _value(self, q: Layout, k: Layout) -> Tensor:
        i, j = _once(q.pos)[:, :, None, 0], _once(k.pos)[:, None, :, 0]
        made = {sights: self._logits(sights, i, j) for sights in dict.fromkeys(self.heads)}
        return torch.stack([made[sights] for sights in self.heads], 1)

    def _logits(self, sights: tuple[Sight, ...], i: Tensor, j: Tensor) -> Tensor:
        times = torch.stack([s.sees(i, j) for s in sights]).sum(0)
        return times.to(torch.float64).log() if self.counted else times.clamp(max=1).to(torch.float32).log()

    def waits(self, j: Tensor, now: Tensor) -> Tensor:
        """Whether any head of a query at `now` or later may look at a key at j <= now."""
        sights = {s for head in self.heads for s in head}
        return torch.stack([s.waits(j, now) for s in sights]).any(0)


@dataclass(frozen=True)
class Seen(Mask):
    """What one sight sees as a mask, for sights of so many pairs that to gather them would not pay."""

    sight: Sight

    def keep(self, q, k):
        along(q)
        along(k)
        return self.sight.sees(q.pos[:, None, :, None, 0], k.pos[:, None, None, :, 0])


def side(i: Tensor, size: int | None = None) -> Tensor:
    """`size`, or the least power of two whose square is above i: (...) int64 -> (...) int64."""
    if size is not None:
        return torch.full_like(i, size)
    return 2 ** torch.bucketize(i.contiguous(), torch.tensor(POWERS, device=i.device), right=True)


def bands(n: int, size: int | None) -> list[tuple[int, int, int]]:
    """(first position, the one after the last, side) of every run of positions below n that have one side."""
    if size is not None:
        return [(0, n, size)]
    starts = [0, *(p for p in POWERS if p < n)]
    return [(a, min(b, n), 2**k) for k, (a, b) in enumerate(zip(starts, POWERS, strict=False))]


def _tiles(start: int, stop: int, size: int) -> Tensor:
    """(R, size): the blocks of positions that hold start .. stop-1."""
    return torch.arange(start - start % size, stop + -stop % size).view(-1, size)


def _once(pos: Tensor) -> Tensor:
    """(B|1, T, P): one row where all are known to be the same."""
    return pos[:1] if pos.stride(0) == 0 else pos


def _from(first: Tensor, count: int) -> Tensor:
    return first + torch.arange(count)


def _within(at: Tensor, start: int, stop: int) -> Tensor:
    return at.masked_fill((at < start) | (at >= stop), -1)
