"""Rotations of pairs of numbers by angles that grow with position."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Pairing = Literal["half", "interleaved"]


def angles(pos: Tensor, width: int, base: float) -> Tensor:
    """pos_p * base^(-2i / (width/P)): (B|1, T, width/2), coordinate p turning its own width/(2P) pairs.

    pos (B, T, P) int64, width a multiple of 2P. In float64: in float32 a position of 100,000 would be off by 0.01 rad.
    Rows that all sit at the same places give one row. Su et al. 2021, RoFormer.
    """
    pos = pos[:1] if pos.stride(0) == 0 else pos
    each = width // pos.shape[-1]
    rate = base ** (torch.arange(0, each, 2, device=pos.device, dtype=torch.float64) / -each)
    return (pos[..., None] * rate).flatten(-2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, pairing: Pairing) -> Tensor:
    """(a, b) -> (a cos - b sin, b cos + a sin) for every pair of the last axis.

    x (..., E), cos and sin (..., E/2). `half` pairs i with i + E/2, `interleaved` pairs 2i with 2i + 1.
    """
    if pairing == "half":
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)
