"""Facts about SLAB: a norm that a linear map takes over, and linear attention with a convolution beside it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.part import config

Pair = tuple[Tensor, Tensor]


def folded(seed: int, width: int = 8, offset: bool = True) -> Pair:
    """A linear map of a trained progressive norm's answer, and one map with the norm's factors and offsets in it.

    `offset: false` leaves the offsets out, which must not be equal.
    """
    torch.manual_seed(seed)
    norm: Any = config("norms", {"use": "progressive_batch", "steps": 3}).build(width).double().train()
    plain = torch.nn.Linear(width, 5).double()
    at = Layout.dense(4, 9)
    with torch.no_grad():
        for p in norm.parameters():
            p += 0.3 * torch.randn_like(p)
        for _ in range(4):
            norm(2 * torch.randn(4, 9, width, dtype=torch.float64) + 1, at)
        x = torch.randn(4, 9, width, dtype=torch.float64)
        factor, shift = norm.affine()
        b = plain.bias + plain.weight @ shift if offset else plain.bias
        return plain(norm.eval()(x, at)), torch.nn.functional.linear(x, plain.weight * factor, b)


def orders(seed: int, causal: bool = True, width: int = 8, length: int = 11, near: bool = True) -> Pair:
    """Simplified linear attention by sums, and by the matrix of all weights with the convolution from its formula.

    `near: false` leaves the convolution out of the latter, which must not be equal.
    """
    torch.manual_seed(seed)
    tree = {"use": "simplified_linear_attention", "heads": 2, "causal": causal, "conv": 3}
    part: Any = config("mixers", tree).build(width).double()
    x = torch.randn(2, length, width, dtype=torch.float64)
    with torch.no_grad():
        q, k, v = (m(x).unflatten(-1, (2, -1)).transpose(1, 2) for m in (part.q, part.k, part.v))
        weights = (q.relu() + 1e-3) @ (k.relu() + 1e-3).mT
        weights = weights.tril() if causal else weights
        y = (weights / weights.sum(-1, keepdim=True) @ v).transpose(1, 2).flatten(2)
        if near:
            values, left = part.v(x), 2 if causal else 1
            for i in range(3):
                shifted = torch.zeros_like(values)
                for t in range(length):
                    if 0 <= t + i - left < length:
                        shifted[:, t] = values[:, t + i - left]
                y = y + part.kernel[:, i] * shifted
            y = y + part.offset
        return part(x, Layout.dense(2, length)), part.o(y)
