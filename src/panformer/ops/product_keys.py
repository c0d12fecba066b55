"""The best of n^2 pairs of keys, where the score of a pair is the sum of the scores of its halves.

Lample et al. 2019, product keys.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .backend import Kernel, Operator


def reference(left: Tensor, right: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Scores of both halves (..., n) -> the `top` largest left_i + right_j, largest first, and i n + j: (..., top) each."""
    return (left[..., :, None] + right[..., None, :]).flatten(-2).topk(top, -1)


def halves(left: Tensor, right: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """The same from the `top` best of each half: a pair with a worse half is beaten by `top` others."""
    n = left.shape[-1]
    (a, i), (b, j) = (side.topk(min(top, n), -1) for side in (left, right))
    score, at = reference(a, b, top)
    return score, i.gather(-1, at // b.shape[-1]) * n + j.gather(-1, at % b.shape[-1])


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    """Sums that no number format rounds, no two alike: which pairs are best must not hang on either."""
    rng = torch.Generator().manual_seed(0)
    left, right = (torch.stack([torch.randperm(9, generator=rng) for _ in range(6)]).view(3, 2, 9) for _ in range(2))
    return left.to(device, dtype), (right / 16).to(device, dtype), 4


product_top = Operator("product_top", reference, Kernel("halves", lambda *args: None, halves), sample=sample)
