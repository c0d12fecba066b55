"""softmax(q k' scale + score) v over any score."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.layout import Layout
from ..core.score import Causal, Same, Score
from .backend import Operator
from .check import Draw, mixed
from .kernels.attend_blocks import BLOCKS
from .kernels.attend_groups import GROUPS
from .kernels.attend_products import PRODUCTS
from .kernels.attend_rows import ROWS
from .kernels.attend_sdpa import SDPA
from .kernels.attend_step import STEP
from .kernels.attend_strips import STRIPS
from .kernels.attend_trained import TRAINED
from .kernels.attend_window import WINDOW
from .online_softmax import finish, part


def reference(
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
    """q (B, H, T, E), k (B, G, S, E), v (B, G, S, V), H a multiple of G -> (B, H, T, V).

    Each group of H/G query heads reads one key and value head. A query that may see nothing gives 0. With `cap` c,
    c tanh(q k' scale / c) stands for q k' scale, so that no product counts for more than c (Team Gemma 2024).
    Vaswani et al. 2017, Attention is all you need; Ainslie et al. 2023 for groups.
    """
    k, v = spread(k, q.shape[1]), spread(v, q.shape[1])
    logits = products(q, k, scale, cap) + score.value(q_at, k_at).to(q.dtype)
    if dropout == 0.0:
        return finish(part(logits, v))
    dead = (logits == -torch.inf).all(-1, keepdim=True)
    weight = F.dropout(logits.masked_fill(dead, 0).softmax(-1).masked_fill(dead, 0), dropout)
    return weight @ v


def products(q: Tensor, k: Tensor, scale: float, cap: float | None) -> Tensor:
    """(B, H, T, S): q k' scale, bounded by +-cap. q (B, H, T, E), k (B, H, S, E)."""
    product = q @ k.mT * scale
    return product if cap is None else cap * torch.tanh(product / cap)


def spread(x: Tensor, heads: int) -> Tensor:
    """(B, G, S, E) -> (B, H, S, E): every group's head repeated for its query heads."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, H*E) -> (B, H, T, E)."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, T, E) -> (B, T, H*E)."""
    return x.transpose(1, 2).flatten(2)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), mixed(device)
    return draw(2, 4, 70, 8), draw(2, 2, 70, 8), draw(2, 2, 70, 8), Same() & Causal(), at, at, 0.35


attend = Operator(
    "attend", reference, STEP, ROWS, STRIPS, WINDOW, GROUPS, BLOCKS, PRODUCTS, TRAINED, SDPA, sample=sample, whole=True
)
