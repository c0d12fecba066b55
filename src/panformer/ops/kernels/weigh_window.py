"""weigh within a window, in blocks, as attend_window does it: O(n w) time and memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ...core.layout import Layout
from ...core.score import Score
from ..backend import Kernel
from .attend_window import no_window, within


def refuses(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score: Score,
    q_at: Layout,
    k_at: Layout,
    scale: float,
    weights: Any,
    dropout: float = 0.0,
    cap: float | None = None,
    factor: Score | None = None,
) -> str | None:
    return no_window(score, q_at, k_at)


def window(dense: Callable[..., Tensor]) -> Kernel:
    """The kernel whose blocks are computed by `dense`."""

    def run(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        score: Score,
        q_at: Layout,
        k_at: Layout,
        scale: float,
        weights: Any,
        dropout: float = 0.0,
        cap: float | None = None,
        factor: Score | None = None,
    ) -> Tensor:
        def call(q: Tensor, k: Tensor, v: Tensor, q_at: Layout, k_at: Layout) -> Tensor:
            return dense(q, k, v, score, q_at, k_at, scale, weights, dropout, cap, factor)

        return within(call, q, k, v, score, q_at)

    return Kernel("window", refuses, run)
