"""The tokens of every sequence in the other order; padding stays where it is."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.layout import Layout
from .conv import pick


def reverse(x: Tensor, at: Layout) -> Tensor:
    """x (B, T, ...) -> the same, each sequence from its last token to its first; its own inverse."""
    if at.full:
        return x.flip(1)
    return pick(x, at.derive("reversed", lambda: _places(at)))


def _places(at: Layout) -> Tensor:
    """(B, T): the place of the token that takes each one's place."""
    place = torch.arange(at.length, device=at.device).expand_as(at.seg)
    if at.single:
        return torch.where(at.valid, at.lengths[:, None] - 1 - place, place)
    first = torch.where(at.starts, place, 0).cummax(1).values
    count = at.lengths[at.ordinal.clamp(min=0)]
    return torch.where(at.valid, 2 * first + count - 1 - place, place)
