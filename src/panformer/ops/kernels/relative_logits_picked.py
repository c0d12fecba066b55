"""relative_logits for any layout: the products with all vectors, and of these the one of every pair."""

from __future__ import annotations

from torch import Tensor

from ...core.layout import Layout
from ...core.score import distance
from ..backend import Kernel


def refuses(q: Tensor, table: Tensor, q_at: Layout, k_at: Layout, two_sided: bool) -> str | None:
    return None


def run(q: Tensor, table: Tensor, q_at: Layout, k_at: Layout, two_sided: bool) -> Tensor:
    apart = distance(q_at, k_at)  # (B|1, 1, T, S)
    first = -(table.shape[1] // 2) if two_sided else 0
    index = apart.clamp(first, first + table.shape[1] - 1) - first
    products = q @ table.mT  # (B, H, T, D)
    out = products.gather(-1, index.expand(*q.shape[:2], -1, -1))
    return out if two_sided else out.masked_fill(apart < 0, 0)


PICKED = Kernel("picked", refuses, run)
