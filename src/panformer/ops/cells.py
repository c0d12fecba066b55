"""Sequences in chunks of equally many cells, counted by the positions of their tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.layout import Layout
from ..core.score import along


class Cells(NamedTuple):
    """One row per sequence, its tokens in R chunks of S cells; a sequence may begin, or go on, within its first chunk."""

    token: Tensor  # (N, R S) int64, which of the B * T tokens is in the cell
    live: Tensor  # (N, R S) bool, whether one is
    lead: Tensor  # (N,) int64, cells before the first token
    length: Tensor  # (N,) int64, tokens
    chunk: Tensor  # (N,) int64, which chunk of its sequence the first one is
    filled: bool  # whether no cell is empty

    def lay(self, x: Tensor) -> Tensor:
        """(B, T, ...) -> (N, R S, ...), zeros in empty cells."""
        x = x.flatten(0, 1)[self.token]
        return x.masked_fill(~self.live.view(*self.live.shape, *[1] * (x.dim() - 2)), 0)

    def back(self, y: Tensor, at: Layout) -> Tensor:
        """(N, R S, ...) -> (B, T, ...), zeros at padding."""
        out = y.new_zeros(at.batch * at.length, *y.shape[2:]).index_copy(0, self.token[self.live], y[self.live])
        return out.unflatten(0, (at.batch, at.length))


def cells(at: Layout, size: int, one: bool) -> Cells:
    """The token at position p is in cell p % size. `one`: each row holds one sequence, with padding anywhere."""
    along(at)
    return at.derive(("cells", size, one), lambda: _cells(at, size, one))


def _cells(at: Layout, size: int, one: bool) -> Cells:
    if one:
        order = (~at.valid).to(torch.int8).argsort(dim=1, stable=True)
        count = at.valid.sum(1)
        first = torch.where(count > 0, at.pos[..., 0].gather(1, order[:, :1])[:, 0], 0)
        index = order + torch.arange(at.batch, device=at.device)[:, None] * at.length
    else:
        index, count, first = at.rows[0], at.lengths, at.as_rows().pos[:, 0, 0]
    lead = first % size
    many = max(1, -(-int((lead + count).max()) // size))
    place = torch.arange(many * size, device=at.device) - lead[:, None]
    live = (place >= 0) & (place < count[:, None])
    return Cells(
        index.gather(1, place.clamp(0, index.shape[1] - 1)), live, lead, count, first // size, bool(live.all())
    )
