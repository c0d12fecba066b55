"""Random choices that are functions of a place: the same wherever and however often the place is visited."""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 0xFFFFFFFF
ODD = 0x45D9F3B  # below 2^27, so that its product with 32 bits stays inside int64


def mix(x: Tensor) -> Tensor:
    """A bijection of 0 .. 2^32 - 1 in which every bit of the result hangs on every bit of x."""
    for _ in range(2):
        x = ((x ^ (x >> 16)) * ODD) & BITS
    return x ^ (x >> 16)


def choice(pos: Tensor, salt: Tensor, among: int) -> Tensor:
    """One of 0 .. among - 1 for every place pos (..., P) int64, nearly uniform over the salts (), int64: (...)."""
    h = mix(salt & BITS)
    for coordinate in pos.unbind(-1):
        h = mix(h ^ (coordinate & BITS))
    return torch.remainder(h, among)
