"""Work on every sequence of a batch for itself, whatever the form of the batch, and where a token stands in its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..core.layout import Layout
from .segment import spread


def one_by_one(x: Tensor, at: Layout, fn: Callable[[Tensor], Tensor]) -> Tensor:
    """fn, (L, D) -> (L, D), of one sequence after the other: (B, T, D) -> (B, T, D), zeros at padding."""
    flat, ordinal = x.flatten(0, 1), at.ordinal.flatten()
    out = torch.zeros_like(flat)
    for i in range(at.sequences):
        here = (ordinal == i).nonzero()[:, 0]
        out = out.index_copy(0, here, fn(flat[here]))
    return out.view_as(x)


def by_length(x: Tensor, at: Layout, fn: Callable[[Tensor], Tensor]) -> Tensor:
    """As `one_by_one`, for an fn of (M, L, D) that takes all sequences of one length together."""
    if at.full:
        return fn(x)
    flat = x.flatten(0, 1)
    out = torch.zeros_like(flat)
    for index in at.derive("by length", lambda: _by_length(at)):
        rows = flat.index_select(0, index.flatten()).unflatten(0, index.shape)
        out = out.index_copy(0, index.flatten(), fn(rows).flatten(0, 1))
    return out.view_as(x)


def places(at: Layout) -> Tensor:
    """(B, T) int64: how many tokens of its sequence stand before each token; any number at padding."""
    place = torch.arange(at.length, device=at.device)
    if at.full:
        return place.expand(at.batch, -1)
    return place - torch.where(at.starts, place, 0).cummax(1).values


def octaves(at: Layout, levels: int) -> Tensor:
    """(B, T) int64: 0 for the first ceil(n / 2^levels) places of a sequence of n, up to `levels` for its second half.

    Those of a transform's coefficients from low to high; each octave but the first two has twice those of the last.
    """

    def make() -> Tensor:
        place, end = places(at), spread(at.lengths, at)
        octave = torch.zeros_like(place)
        for _ in range(levels):
            end = (end + 1) // 2
            octave = octave + (place >= end)
        return octave

    return at.derive(("octaves", levels), make)


def _by_length(at: Layout) -> list[Tensor]:
    """One (M, L) for each length L that occurs: where the tokens of its M sequences stand among all B * T."""
    index, _ = at.rows
    return [index[at.lengths == n, :n] for n in at.lengths.unique().tolist()]
