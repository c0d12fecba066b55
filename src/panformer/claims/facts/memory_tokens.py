"""Facts about memory tokens that segments pass on, in float64: where the model is a plain one, and the loop written out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from .mixers import _mixer

Pair = tuple[Tensor, Tensor]
WIDTH = 16


def segments(seed: int, memory: int = 0, size: int = 7, length: int = 28) -> Pair:
    """All tokens read as segments, and each segment as a sequence of its own: equal where there is no memory."""
    part, x = _part(seed, length, size=size, memory=memory)
    alone = part(x.reshape(-1, size, WIDTH), Layout.dense(2 * length // size, size))
    return part(x, Layout.dense(2, length)), alone.view_as(x)


def one_segment(seed: int, memory: int = 4, size: int = 28, length: int = 28) -> Pair:
    """All tokens read as segments of `size`, and the layers inside on the memory and all tokens, in one piece."""
    part, x = _part(seed, length, size=size, memory=memory)
    h = torch.cat([part.first.expand(2, -1, -1), x], 1)
    return part(x, Layout.dense(2, length)), _layers(part, h)[:, memory:]


def written_out(seed: int, memory: int = 4, size: int = 7, length: int = 40, passed: bool = True) -> Pair:
    """All tokens at once, and segment after segment between the memory and itself, the answers to the last being the next.

    `passed: false` lets every segment read the first memory, which must not be equal.
    """
    part, x = _part(seed, length, size=size, memory=memory)
    first = part.first.expand(2, -1, -1)
    m, out = first, []
    for piece in x.split(size, 1):
        h = _layers(part, torch.cat([m, piece, m], 1))
        out.append(h[:, memory : memory + piece.shape[1]])
        m = h[:, memory + piece.shape[1] :] if passed else first
    return part(x, Layout.dense(2, length)), torch.cat(out, 1)


def _part(seed: int, length: int, **options: Any) -> tuple[Any, Tensor]:
    inner = {"use": "attention", "heads": 2, "causal": True, "position": "rope"}
    return _mixer(seed, {"use": "recurrent_memory", "mixer": inner, **options}, WIDTH, length)


def _layers(part: Any, h: Tensor) -> Tensor:
    at = Layout.dense(*h.shape[:2])
    for layer in part.layers:
        h = layer(h, at, None)
    return part.final(h, at)
