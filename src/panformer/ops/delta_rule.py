"""S_t = a_t S_{t-1} (I - b_t k_t k_t') + b_t v_t k_t', y_t = S_t q_t: a memory that corrects its answer to k_t.

Before v_t is written, b_t of what the memory answers to k_t is taken away; linear attention only adds. Schlag et al.
2021, Linear transformers are secretly fast weight programmers; with the decay a_t Yang et al. 2025, Gated delta
networks. It is one gradient step of size b_t on |S k_t - v_t|^2 / 2 from a_t S_{t-1}.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.layout import Layout
from .backend import Operator
from .check import Draw, mixed
from .kernels.delta_rule_blocks import BLOCKS
from .memory import by_token


def reference(
    q: Tensor, k: Tensor, v: Tensor, b: Tensor, fall: Tensor | None, at: Layout, s: Tensor | None
) -> tuple[Tensor, Tensor]:
    """q, k (B, H, T, E), v (B, H, T, V), b (B, H, T), fall = log a (B, H, T) <= 0 or None -> y (B, H, T, V), last S'.

    S' (B, H, E, V) is the state after the last token of each row; s, `at` and types are as in `by_token`.
    """
    return by_token(write, q, (k, v, b), None if fall is None else fall[..., None], at, s)


def traced(
    q: Tensor, k: Tensor, v: Tensor, b: Tensor, fall: Tensor | None, at: Layout, s: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`reference` with its loop over time as one operation of the graph, for any number of tokens."""
    return by_token(write, q, (k, v, b), None if fall is None else fall[..., None], at, s, graph=True)


def write(s: Tensor, k: Tensor, v: Tensor, b: Tensor) -> Tensor:
    """S' (B, H, E, V) after k (B, H, E), v (B, H, V), b (B, H)."""
    wrong = v - (k[..., None, :] @ s)[..., 0, :]
    return s + k[..., None] * (b[..., None] * wrong)[..., None, :]


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), mixed(device)
    q, k, v = (draw(2, 2, at.length, n) for n in (3, 3, 4))
    k = k / k.norm(dim=-1, keepdim=True)
    return q, k, v, draw(2, 2, at.length).sigmoid(), -draw(2, 2, at.length).exp() / 4, at, None


delta_rule = Operator("delta_rule", reference, BLOCKS, traced=traced, sample=sample)
