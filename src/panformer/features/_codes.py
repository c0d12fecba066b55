"""Codes of +1 and -1, whose inner product says in how many bits they agree."""

from __future__ import annotations

import torch
from torch import Tensor


def signs(x: Tensor, slope: bool) -> Tensor:
    """+1 where x > 0, else -1; with `slope` its gradient is 1 where |x| < 1, else 0 (straight through)."""
    hard = torch.where(x > 0, 1.0, -1.0).to(x.dtype)
    if not slope:
        return hard
    soft = x.clamp(-1, 1)
    return hard + (soft - soft.detach())


def lift(bits: int) -> int:
    """The power of 2 above `bits`, which keeps an inner product of codes above 0 when it is added."""
    return 1 << bits.bit_length()


def lifted(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (..., b) with one more channel each, so that their inner product is q . k + lift(b), in whole numbers."""
    c = lift(q.shape[-1])
    return torch.cat([q, torch.full_like(q[..., :1], c)], -1), torch.cat([k, torch.ones_like(k[..., :1])], -1)
