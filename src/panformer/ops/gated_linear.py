"""S_t = S_{t-1} diag(a_t) + v_t k_t', y_t = S_t q_t: linear attention in which every channel of the keys fades alone.

Yang et al. 2024, Gated linear attention transformers with hardware-efficient training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.layout import Layout
from .backend import Operator
from .check import Draw, mixed
from .kernels.gated_linear_blocks import BLOCKS
from .memory import by_token


def reference(q: Tensor, k: Tensor, v: Tensor, fall: Tensor, at: Layout, s: Tensor | None) -> tuple[Tensor, Tensor]:
    """q, k (B, H, T, E), v (B, H, T, V), fall = log a (B, H, T, E) <= 0 -> y (B, H, T, V), last S' (B, H, E, V).

    s, `at` and types are as in `by_token`.
    """
    return by_token(write, q, (k, v), fall, at, s)


def traced(q: Tensor, k: Tensor, v: Tensor, fall: Tensor, at: Layout, s: Tensor | None) -> tuple[Tensor, Tensor]:
    """`reference` with its loop over time as one operation of the graph, for any number of tokens."""
    return by_token(write, q, (k, v), fall, at, s, graph=True)


def write(s: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """S' (B, H, E, V) after k (B, H, E), v (B, H, V)."""
    return s + k[..., None] * v[..., None, :]


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), mixed(device)
    q, k, v = (draw(2, 2, at.length, n) for n in (3, 3, 4))
    return q, k, v, -draw(2, 2, at.length, 3).exp() / 4, at, None


gated_linear = Operator("gated_linear", reference, BLOCKS, traced=traced, sample=sample)
