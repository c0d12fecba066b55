"""Cuts sequences and lattices into regions of equally many places, and sums regions up.

No region holds tokens of two sequences. Where a length does not divide, the last regions have places without a token.
Sequences whose regions are of one size are cut together, so a batch of several lengths may give several cuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.layout import Layout


class Regions(NamedTuple):
    """N sequences of R regions of S places."""

    token: Tensor  # (N, R, S) int64 into the B*T tokens of the batch, 0 where there is no token
    real: Tensor  # (N, R, S) bool, where there is one

    @property
    def filled(self) -> Tensor:
        """(N,) int64: regions that hold a token, which are the first ones of their sequence."""
        return self.real.any(-1).sum(-1)

    def take(self, x: Tensor, heads: int) -> Tensor:
        """x (B, T, H*E) -> (N, H, R, S, E), zeros where there is no token."""
        y = x.flatten(0, 1).index_select(0, self.token.flatten()).view(*self.token.shape, heads, -1)
        return torch.where(self.real[..., None, None], y, y.new_zeros(())).permute(0, 3, 1, 2, 4)

    def mean(self, x: Tensor) -> Tensor:
        """x (N, H, R, S, E), zeros where there is no token -> (N, H, R, E): means over the tokens of each region."""
        size = self.real.sum(-1).clamp(min=1)[:, None, :, None]
        wide = torch.promote_types(x.dtype, torch.float32)
        return (x.sum(3, dtype=wide) / size).to(x.dtype)


class Cut(NamedTuple):
    """All sequences of a batch in regions."""

    parts: tuple[Regions, ...]
    place: Tensor  # (B*T,) int64: where each token went, in the places of all parts one after the other

    def give(self, ys: Sequence[Tensor], at: Layout) -> Tensor:
        """One (N, H, R, S, E) for each part -> (B, T, H*E), zeros at padding."""
        rows = torch.cat([y.permute(0, 2, 3, 1, 4).reshape(-1, y.shape[1] * y.shape[4]) for y in ys])
        return at.clean(rows.index_select(0, self.place).view(at.batch, at.length, -1))


def side(count: int, axes: int = 1) -> int:
    """Places along each axis of a region, so that there are about as many regions as tokens in one."""
    return max(1, round(count ** (0.5 / axes)))


def cut(at: Layout, size: int | None, square: bool = False) -> Cut:
    """Regions of `size` tokens along a sequence, by default about as many as there are regions.

    With `square` a lattice of two axes is cut into squares of `size` x `size` cells.
    """
    lattice = square and at.grid is not None and len(at.grid) == 2
    return at.derive(("regions", size, lattice), lambda: _cut(at, size, lattice))


def _cut(at: Layout, size: int | None, lattice: bool) -> Cut:
    if lattice:
        parts = [_squares(at, side(at.length, 2) if size is None else size)]
    elif at.full:
        parts = [_pieces(*_whole(at), side(at.length) if size is None else size)]
    else:
        index, real = at.rows
        sides = [side(n) if size is None else size for n in at.lengths.tolist()]
        parts = []
        for one in sorted(set(sides)):
            which = torch.tensor([i for i, s in enumerate(sides) if s == one], device=at.device)
            room = int(at.lengths[which].max())
            parts.append(_pieces(index[which, :room], real[which, :room], one))
    index, real = (torch.cat([f.flatten() for f in z]) for z in zip(*parts, strict=True))
    total = at.batch * at.length
    slot = torch.arange(len(index), device=at.device)
    place = index.new_zeros(total + 1).scatter(0, torch.where(real, index, total), slot)
    return Cut(tuple(parts), place[:-1])


def _whole(at: Layout) -> tuple[Tensor, Tensor]:
    index = torch.arange(at.batch * at.length, device=at.device).view(at.batch, at.length)
    return index, torch.ones_like(index, dtype=torch.bool)


def _pieces(index: Tensor, real: Tensor, size: int) -> Regions:
    """(N, L) tokens of each sequence and which are real -> regions of consecutive ones."""
    index, real = (F.pad(z, (0, -z.shape[1] % size)).unflatten(1, (-1, size)) for z in (index, real))
    return Regions(index.masked_fill(~real, 0), real)


def _squares(at: Layout, size: int) -> Regions:
    assert at.grid is not None
    index, real = (z.unflatten(1, at.grid) for z in _whole(at))
    rows, columns = (-n % size for n in at.grid)
    index, real = (
        F.pad(z, (0, columns, 0, rows)).unflatten(2, (-1, size)).unflatten(1, (-1, size)).transpose(2, 3)
        for z in (index, real)
    )
    return Regions(*(z.flatten(3, 4).flatten(1, 2) for z in (index, real)))
