"""A few landmarks stand for a whole sequence: means of its segments, and softmax attention to and through them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.layout import Layout, exporting


def segment_means(at: Layout, marks: int, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """((N, 1, M, L) what takes the mean over each segment, (N, 1, 1, M) which there are or None for all).

    A sequence of n tokens has m = min(marks, n) segments; token t is in segment floor(t m / n).
    """

    def make() -> tuple[Tensor, Tensor]:
        n = at.lengths.clamp(max=at.length)[:, None]
        own_marks = n.clamp(max=marks)
        place = torch.arange(at.longest, device=at.device)
        index = torch.arange(int(own_marks.max()), device=at.device)
        own = (place * own_marks // n)[:, None] == index[:, None]
        own = own & (place < n)[:, None]  # (N, M, L)
        size = own.sum(-1, keepdim=True).clamp(min=1)
        return (own.to(dtype) / size)[:, None], (index < own_marks)[:, None, None]

    mean, kept = at.derive(("landmarks", marks, dtype), make)
    return mean, None if at.full else kept


def means(x: Tensor, at: Layout, marks: int) -> tuple[Tensor, Tensor | None]:
    """((N, M, D) the mean of each segment of x (N, L, D), as `at.to_rows` gives it; which there are, as above)."""
    if at.full and not exporting() and at.length >= marks and at.length % marks == 0:
        return x.unflatten(1, (marks, -1)).mean(2), None
    mean, kept = segment_means(at, marks, x.dtype)
    return mean[:, 0] @ x, kept


def weights(score: Tensor, real: Tensor | None) -> Tensor:
    """The softmax over keys, those that are not `real` left out."""
    return score.softmax(-1) if real is None else score.masked_fill(~real, -torch.inf).softmax(-1)


def through(
    q: Tensor,
    agents: Tensor,
    k: Tensor,
    v: Tensor,
    real: Tensor | None,
    kept: Tensor | None,
    gather: Tensor | float = 0.0,
    spread: Tensor | float = 0.0,
) -> Tensor:
    """softmax(q a' / sqrt(E) + spread) softmax(a k' / sqrt(E) + gather) v: queries read what the agents have read.

    q, k, v (N, H, L, E), agents (N, H, M, E); real (N, 1, 1, L) and kept (N, 1, 1, M) say which keys and which agents
    there are, None for all; gather (H, M, L) and spread (H, L, M) are added to the logits. Cost L M.
    """
    scale = q.shape[-1] ** -0.5
    read = weights(agents @ k.mT * scale + gather, real) @ v
    return weights(q @ agents.mT * scale + spread, kept) @ read
