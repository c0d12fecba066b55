"""attend for the one next token of every row: all keys kept are before it, so that there is nothing to mask.

The queries of a group stand as rows of one product with the keys they share.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.layout import Layout
from ...core.score import Both, Causal, Same, Score, Window
from ..backend import Kernel
from ..check import Draw


def refuses(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score: Score,
    q_at: Layout,
    k_at: Layout,
    scale: float,
    dropout: float = 0.0,
    cap: float | None = None,
) -> str | None:
    if q.shape[2] != 1:
        return "more than one token a row"
    if cap is not None:
        return "the fused call cannot cap its products"
    if not (k_at.full and k_at.ends_with(q_at)):
        return "not known to be the last token of a row without padding"
    if k_at.pos.shape[-1] != 1 or not _open(score, k_at.length):
        return "the score may hide or weigh some keys"
    return None


def run(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score: Score,
    q_at: Layout,
    k_at: Layout,
    scale: float,
    dropout: float = 0.0,
    cap: float | None = None,
) -> Tensor:
    batch, heads, _, size = q.shape
    rows = q.reshape(batch, k.shape[1], -1, size)
    out = F.scaled_dot_product_attention(rows, k, v, dropout_p=dropout, scale=scale)
    return out.reshape(batch, heads, 1, -1)


def _open(score: Score, length: int) -> bool:
    """Whether the last of `length` tokens sees all of them alike."""
    if isinstance(score, Both):
        return _open(score.a, length) and _open(score.b, length)
    return isinstance(score, Same | Causal) or (isinstance(score, Window) and length <= score.size)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, k_at = Draw(device, dtype), Layout.dense(2, 9, device=device)
    return draw(2, 4, 1, 8), draw(2, 2, 9, 8), draw(2, 2, 9, 8), Same() & Causal(), k_at.span(8, 9), k_at, 0.35


STEP = Kernel("step", refuses, run, sample)
