"""attend by torch's fused scaled_dot_product_attention.

Plain causal and plain two-sided batches need no mask at all; packed and ragged batches run as one row
per sequence, so their masks cost N L^2, not (sum of lengths)^2; all else gets the dense score.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.layout import Layout
from ...core.score import Causal, Mask, Same, Score, Window, conjuncts, given, split
from ..backend import Kernel

PLAIN, CAUSAL = Same(), Same() & Causal()


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
    if q.shape[-1] == 0 or k.shape[2] == 0:
        return "empty keys"
    if cap is not None:
        return "the fused call cannot cap its products"
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
    grouped = q.shape[1] != k.shape[1]
    apart = PLAIN in conjuncts(split(score)[0]) and not given(score)
    if q_at is k_at and not q_at.full and apart:  # one row per sequence: no work between documents
        q, k, v = (_rows(x, q_at) for x in (q, k, v))
        rows = q_at.as_rows()
        out = call(q, k, v, score, rows, rows, scale, dropout, grouped)
        return q_at.from_rows(out.transpose(1, 2)).transpose(1, 2)
    return call(q, k, v, score, q_at, k_at, scale, dropout, grouped)


def _rows(x: Tensor, at: Layout) -> Tensor:
    return at.to_rows(x.transpose(1, 2)).transpose(1, 2)


def call(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score: Score,
    q_at: Layout,
    k_at: Layout,
    scale: float,
    dropout: float,
    grouped: bool,
) -> Tensor:
    full = q_at.full and k_at.full
    # right-padded rows: a real query never sees the padding after it; a lattice has no before and after
    causal = score == CAUSAL and q_at is k_at and q_at.pos.shape[-1] == 1
    if causal or (score == PLAIN and full):
        return F.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=causal, scale=scale, enable_gqa=grouped
        )
    mask, dead = _additive(score, q_at, k_at, q.dtype)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale, enable_gqa=grouped)
    return out if dead is None else out.masked_fill(dead, 0)


def _additive(score: Score, q_at: Layout, k_at: Layout, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """(the mask for the fused call, which queries see nothing): those get an open row and are zeroed after."""
    mask, rest = split(score)
    if not rest and mask is not None:
        if k_at.ends_with(q_at):
            return k_at.derive(("opened", mask), lambda: _opened(mask, q_at, k_at))
        return _opened(mask, q_at, k_at)
    value = score.value(q_at, k_at).to(dtype)
    if mask is None or _itself(mask, q_at, k_at):
        return value, None
    dead = (value == -torch.inf).all(-1, keepdim=True)
    return value.masked_fill(dead, 0), dead


def _opened(mask: Mask, q_at: Layout, k_at: Layout) -> tuple[Tensor, Tensor | None]:
    keep = mask.keep(q_at, k_at)
    if _itself(mask, q_at, k_at):
        return keep, None
    dead = ~keep.any(-1, keepdim=True)
    return keep | dead, dead


def _itself(mask: Mask, q_at: Layout, k_at: Layout) -> bool:
    """Whether every query is known to see at least itself."""
    near = all(isinstance(m, Same | Causal | Window) for m in conjuncts(mask))
    return near and q_at.full and k_at.ends_with(q_at)


SDPA = Kernel("sdpa", refuses, run)
