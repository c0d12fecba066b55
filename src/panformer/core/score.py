"""Score algebra: what may look at what, and how strongly, independent of who computes it.

A score is an additive logit over (query, key); `-inf` forbids. Scores add with `+`; masks, which are
scores of 0 and -inf, also compose with `&` and `|`. A consumer asks for the dense `value`, for the
`blocks` that a sparse kernel may skip, or for the `log_decay` that a linear mixer needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .errors import InputError
from .layout import Layout

NONE, PART, FULL = 0, 1, 2


class Score:
    """An additive logit over (query, key)."""

    relative: ClassVar[bool] = False  # whether it depends on how far the key is behind the query alone

    def value(self, q: Layout, k: Layout) -> Tensor:
        """(B|1, H|1, T, S) floating; -inf forbids."""
        raise NotImplementedError

    def log_decay(self, q: Layout, k: Layout) -> tuple[Tensor, Tensor] | None:
        """(u, v), each (B|1, H|1, T), with value = u_i - v_j; None where the term does not separate."""
        return None

    def __add__(self, other: Score) -> Score:
        return Sum(_terms(self) + _terms(other))


@dataclass(frozen=True, eq=False)
class Sum(Score):
    terms: tuple[Score, ...]

    def value(self, q, k):
        mask, rest = split(self)
        total = sum((t.value(q, k) for t in rest), torch.zeros((), device=q.device))
        return total if mask is None else total.masked_fill(~mask.keep(q, k), -torch.inf)

    def log_decay(self, q, k):
        found = [t.log_decay(q, k) for t in split(self)[1]]
        pairs = [p for p in found if p is not None]
        if not pairs or len(pairs) < len(found):
            return None
        zero = torch.zeros((), device=q.device)
        return sum((u for u, _ in pairs), zero), sum((v for _, v in pairs), zero)


class Mask(Score):
    """A score of 0 and -inf."""

    def keep(self, q: Layout, k: Layout) -> Tensor:
        """(B|1, H|1, T, S) bool: True where a query may look at a key."""
        raise NotImplementedError

    def value(self, q, k):
        keep = self.keep(q, k)
        return torch.zeros((), device=keep.device).expand(keep.shape).masked_fill(~keep, -torch.inf)

    def blocks(self, q: Layout, k: Layout, size: int) -> Tensor:
        """(B|1, H|1, ceil(T/size), ceil(S/size)) in {NONE, PART, FULL}: keeps nothing, must be looked into, keeps all.

        PART may stand where a closer look would find one of the others. This default builds the dense mask.
        """
        keep = self.keep(q, k)
        t, s = keep.shape[-2:]
        ones = torch.nn.functional.pad(keep.to(torch.int32), (0, -s % size, 0, -t % size))
        count = ones.unfold(-2, size, size).unfold(-2, size, size).sum((-1, -2))
        return torch.where(count == 0, NONE, torch.where(count == size * size, FULL, PART))

    def __and__(self, other: Mask) -> Mask:
        return Both(self, other)

    def __or__(self, other: Mask) -> Mask:
        return Either(self, other)


@dataclass(frozen=True)
class Both(Mask):
    a: Mask
    b: Mask

    def keep(self, q, k):
        return self.a.keep(q, k) & self.b.keep(q, k)

    def blocks(self, q, k, size):
        return torch.minimum(self.a.blocks(q, k, size), self.b.blocks(q, k, size))


@dataclass(frozen=True)
class Either(Mask):
    a: Mask
    b: Mask

    def keep(self, q, k):
        return self.a.keep(q, k) | self.b.keep(q, k)

    def blocks(self, q, k, size):
        return torch.maximum(self.a.blocks(q, k, size), self.b.blocks(q, k, size))


@dataclass(frozen=True)
class Same(Mask):
    """Query and key belong to the same sequence, and neither is padding."""

    def keep(self, q, k):
        a, b = q.seg[:, None, :, None], k.seg[:, None, None, :]
        return (a == b) & (a >= 0)

    def blocks(self, q, k, size):
        (a, b), (c, d) = _ranges(q, "seg", size)[0], _ranges(k, "seg", size)[1]
        return _kinds((b < c) | (d < a) | (b < 0) | (d < 0), (a == b) & (c == d) & (a == c))


@dataclass(frozen=True)
class Causal(Mask):
    """The key is not after the query."""

    def keep(self, q, k):
        along(q)
        along(k)
        return q.pos[:, None, :, None, 0] >= k.pos[:, None, None, :, 0]

    def blocks(self, q, k, size):
        (a, b), (c, d) = _ranges(q, "pos", size)[0], _ranges(k, "pos", size)[1]
        return _kinds(b < c, a >= d)


@dataclass(frozen=True)
class Window(Mask):
    """The key is fewer than `size` positions away on either side; `& Causal()` makes it one-sided."""

    size: int

    def keep(self, q, k):
        return distance(q, k).abs() < self.size

    def blocks(self, q, k, size):
        return _within(q, k, size, self.size)


@dataclass(frozen=True)
class Prefix(Mask):
    """The key is one of the first `size` tokens of its sequence."""

    size: int

    def keep(self, q, k):
        along(k)
        return (k.pos[:, None, None, :, 0] < self.size).expand(-1, 1, q.length, -1)

    def blocks(self, q, k, size):
        (a, _), (c, d) = _ranges(q, "pos", size)[0], _ranges(k, "pos", size)[1]
        return _kinds(c >= self.size, d < self.size).expand(-1, -1, a.shape[2], -1)


@dataclass(frozen=True, eq=False)
class HeadWindow(Mask):
    """Head h sees keys fewer than `sizes[h]` positions away; -1 sees all. sizes (H,) int64."""

    sizes: Tensor

    def keep(self, q, k):
        size = self.sizes[None, :, None, None]
        return (distance(q, k).abs() < size) | (size < 0)

    def blocks(self, q, k, size):
        sizes = self.sizes[None, :, None, None]
        return torch.where(sizes < 0, FULL, _within(q, k, size, sizes))


@dataclass(frozen=True, eq=False)
class Slope(Score):
    """-m_h (i - j): ALiBi under softmax, a fixed decay under a linear mixer. slope (H,) positive.

    With `two_sided` the distance is absolute, which no longer separates.
    """

    relative = True
    slope: Tensor
    two_sided: bool = False

    def log_decay(self, q, k):
        if self.two_sided:
            return None
        m = self.slope[None, :, None].to(torch.float64)  # only differences may be rounded to a narrower type
        return -m * q.pos[:, None, :, 0], -m * k.pos[:, None, :, 0]

    def value(self, q, k):
        apart = distance(q, k)
        return -self.slope[None, :, None, None] * (apart.abs() if self.two_sided else apart)


@dataclass(frozen=True, eq=False)
class Given(Score):
    """Values that are made already, for the queries and keys of one call as they stand.

    They may depend on the tokens themselves, which no layout knows of: where queries and keys are laid out anew, or cut
    into blocks, they would stand at the wrong places.
    """

    values: Tensor  # (B, H, T, S)

    def value(self, q, k):
        return self.values


def distance(q: Layout, k: Layout) -> Tensor:
    """(B|1, 1, T, S) int64: query position minus key position. Tokens on a lattice have no one distance."""
    along(q)
    return q.pos[:, None, :, None, 0] - k.pos[:, None, None, :, 0]


def _ranges(at: Layout, name: str, size: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(least, largest) of seg or pos in every block of tokens, as rows (B, 1, n, 1) and as columns (B, 1, 1, n)."""

    def make() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        if name == "pos":
            along(at)
        x = at.seg if name == "seg" else at.pos[..., 0]
        x = torch.cat((x, x[:, -1:].expand(-1, -x.shape[1] % size)), 1).view(len(x), 1, -1, size)
        low, high = x.amin(-1), x.amax(-1)
        return (low[..., None], high[..., None]), (low[:, :, None], high[:, :, None])

    return at.derive(("ranges", name, size), make)


def _within(q: Layout, k: Layout, size: int, reach: int | Tensor) -> Tensor:
    """Blocks of the keys that are fewer than `reach` positions away."""
    (a, b), (c, d) = _ranges(q, "pos", size)[0], _ranges(k, "pos", size)[1]
    return _kinds(torch.maximum(a - d, c - b) >= reach, torch.maximum(b - c, d - a) < reach)


def _kinds(none: Tensor, full: Tensor) -> Tensor:
    return torch.where(none, NONE, torch.where(full, FULL, PART))


def along(at: Layout) -> None:
    """Refuse tokens on a lattice, where before and after mean nothing."""
    if at.pos.shape[-1] != 1:
        raise InputError(
            f"this score counts along one axis, but tokens have {at.pos.shape[-1]} coordinates; try rope or learned"
        )


def split(score: Score | None) -> tuple[Mask | None, tuple[Score, ...]]:
    """(all masks joined by `&`, the other terms)."""
    mask: Mask | None = None
    rest: list[Score] = []
    for term in _terms(score) if score is not None else ():
        if isinstance(term, Mask):
            mask = term if mask is None else mask & term
        else:
            rest.append(term)
    return mask, tuple(rest)


def _terms(score: Score) -> tuple[Score, ...]:
    return score.terms if isinstance(score, Sum) else (score,)


def given(score: Score) -> bool:
    """Whether a term's values hold only for the tokens as they stand."""
    return any(isinstance(term, Given) for term in _terms(score))


def conjuncts(mask: Mask | None) -> list[Mask]:
    """The masks that `&` joined."""
    if mask is None:
        return []
    return conjuncts(mask.a) + conjuncts(mask.b) if isinstance(mask, Both) else [mask]
