"""w(q k' scale + score) v for any way w from scores to weights: attention where softmax is only one choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.layout import Layout
from ..core.score import Causal, Same, Score, Window
from .attend import products, spread
from .backend import Operator
from .check import Draw, mixed
from .kernels.weigh_rows import rows
from .kernels.weigh_window import window

Weights = Callable[[Tensor, Tensor, Tensor], Tensor]  # (scores, visible keys, how many) -> weights


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score: Score,
    q_at: Layout,
    k_at: Layout,
    scale: float,
    weights: Weights,
    dropout: float = 0.0,
    cap: float | None = None,
    factor: Score | None = None,
) -> Tensor:
    """q (B, H, T, E), k (B, G, S, E), v (B, G, S, V) -> (B, H, T, V), as `attend`, `weights` in place of its softmax.

    `weights` is that of a part of `normalisers/`. The keys that a query sees, and their number, are those that the
    score does not forbid, so a sequence has the same weights alone, packed, padded and in a stream. The values of
    `factor` multiply the weights.
    """
    value = score.value(q_at, k_at)
    keep = value != -torch.inf
    logits = products(q, spread(k, q.shape[1]), scale, cap) + value.masked_fill(~keep, 0).to(q.dtype)
    seen = keep.sum(-1, keepdim=True).clamp_min(1).to(q.dtype)
    weight = weights(logits, keep, seen).masked_fill(~keep, 0)
    if factor is not None:
        weight = weight * factor.value(q_at, k_at).to(weight.dtype)
    return F.dropout(weight, dropout) @ spread(v, q.shape[1])


def softmax(score: Tensor, keep: Tensor) -> Tensor:
    """Over the visible keys; even where there are none. score, keep (..., T, S)."""
    return score.masked_fill(~keep, torch.finfo(score.dtype).min).softmax(-1)


def plain(score: Tensor, keep: Tensor, seen: Tensor) -> Tensor:
    """Softmax as `weights`."""
    return softmax(score, keep)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), mixed(device)
    q, k, v = draw(2, 4, 70, 8), draw(2, 2, 70, 8), draw(2, 2, 70, 8)
    return q, k, v, Same() & Causal() & Window(5), at, at, 0.35, _sampled


def _sampled(score: Tensor, keep: Tensor, seen: Tensor) -> Tensor:
    """Weights that hang on all that they may: the score, the other keys and their number."""
    return softmax(score, keep) + score.tanh() / seen


weigh = Operator("weigh", reference, window(reference), rows(reference), sample=sample)
