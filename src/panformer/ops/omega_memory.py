"""What `omega_rule` remembers between tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

FLOOR = (
    0.1  # a shorter Z is a shorter step: at its own goal the memory would else leap by what rounding left of a slope
)


class Memory(NamedTuple):
    """What a row remembers; all zeros before its first token."""

    now: Tensor  # (B, H, E, V) S
    base: Tensor  # (B, H, E, V) R, where the slopes of this chunk are taken
    speed: Tensor  # (B, H, E, V) Z, zeros without p
    k: Tensor  # (B, H, c - 1, E) the tokens that the next window begins with
    v: Tensor  # (B, H, c - 1, V)
    g: Tensor  # (B, H, c - 1)


def nothing(q: Tensor, v: Tensor, window: int) -> Memory:
    """Before the first token of rows with queries q (B, H, T, E) and values v (B, H, T, V)."""
    wide = torch.promote_types(v.dtype, torch.float32)
    s = v.new_zeros(*q.shape[:2], q.shape[3], v.shape[3], dtype=wide)
    k, v = (x.new_zeros(*x.shape[:2], window - 1, x.shape[3], dtype=wide) for x in (q, v))
    return Memory(s, s, s, k, v, k.new_zeros(k.shape[:3]))
