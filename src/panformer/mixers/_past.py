"""Where the tokens sit whose keys a streaming mixer has kept."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.layout import Layout, exporting
from ..core.sparse import Sparse

Past = tuple[Tensor, Tensor]  # seg (B, S), pos (B, S, P) of the tokens kept; seg (B, 0) where no row has padding


def nothing(batch: int, like: Tensor) -> Past:
    """Before the first token."""
    seg = like.new_zeros(batch, 0, dtype=torch.int64)
    return seg, seg[..., None]


def joined(past: Past, at: Layout) -> Layout:
    """The tokens kept and then those at `at`. Layers that remember the same tensors are given the same layout."""
    seg, pos = past
    if exporting():  # one graph for all lengths: seg is always there
        return Layout(seg, pos).then(at)
    if at.full and not pos.shape[1]:
        return at
    return at.derive(("after", id(seg), id(pos)), lambda: (past, _joined(seg, pos, at)))[1]  # keeps the ids taken


def _joined(seg: Tensor, pos: Tensor, at: Layout) -> Layout:
    if seg.shape[1] != pos.shape[1]:
        seg = at.seg.new_zeros(1, 1).expand(pos.shape[:2])
        return Layout(seg, pos, full=True).then(at)
    return Layout(seg, pos).then(at)


def remembered(at: Layout) -> Past:
    """What to keep of a layout."""
    return (at.derive("no seg", lambda: at.seg[:, :0]) if at.full else at.seg), at.pos


def first_seen(at: Layout, window: int) -> int:
    """The first column that the last token of some row, or a later one, sees `window` tokens back."""
    if at.full:
        return max(0, at.length - window)

    def make() -> int:
        newest = torch.where(at.valid, at.pos[..., 0], -1).amax(1, keepdim=True)
        useful = (at.valid & (at.pos[..., 0] > newest - window)).any(0)
        return int(useful.to(torch.int8).argmax())

    return at.derive(("first seen", window), make)


def first_in_chunk(at: Layout, size: int) -> int:
    """The first column that a later token of some row sees, where it sees its own chunk of `size` positions."""

    def make() -> int:
        place = at.pos[..., 0]
        newest = torch.where(at.valid, place, -1).amax(1, keepdim=True)
        useful = (at.valid & (place // size == (newest + 1) // size)).any(0)
        return int(useful.to(torch.int8).argmax()) if bool(useful.any()) else at.length

    return at.derive(("first in chunk", size), make)


def waiting(at: Layout, pattern: Sparse) -> Tensor | None:
    """The columns (S',) that the last token of some row, or a later one, looks at; None while most of them are."""

    def make() -> Tensor | None:
        place = at.pos[..., 0]
        newest = torch.where(at.valid, place, -1).amax(1, keepdim=True)
        useful = (at.valid & pattern.waits(place, newest.clamp(min=0).expand_as(place))).any(0)
        which = useful.nonzero()[:, 0]
        return which if 2 * len(which) <= at.length else None

    return at.derive(("waiting columns", pattern), make)
