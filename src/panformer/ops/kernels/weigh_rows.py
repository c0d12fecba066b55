"""weigh for one block of queries after another: memory linear in length forward and backward, for any weights.

A block reads just the keys between the first and the last that its score may let it see. The backward pass makes the
weights of a block again. Weights may hang on sums over all visible keys, so keys are not cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ...core.layout import Layout
from ...core.score import Score, given, split
from ..backend import Kernel
from . import attend_blocks


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
    if dropout > 0:
        return "weights that are made twice cannot be dropped at random"
    if torch.compiler.is_compiling():
        return "blocks depend on the data"
    if q_at.pos.shape[-1] != 1:
        return "blocks need one coordinate per token"
    if given(score):
        return "the score was made for the tokens as they stand"
    pairs = q.shape[2] * k.shape[2]
    if pairs < attend_blocks.MASKED:
        return f"{pairs} scores per head: one dense call is quicker under {attend_blocks.MASKED}"
    return None


def rows(dense: Callable[..., Tensor]) -> Kernel:
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
        out = q.new_zeros(*q.shape[:-1], v.shape[-1])
        for row in attend_blocks.tiles(split(score)[0], q_at, k_at, attend_blocks.SIZE):
            if not row:
                continue
            a, b = row[0].q, slice(row[0].k.start, row[-1].k.stop)
            there = (score, row[0].q_at, k_at.span(b.start, b.stop), scale, weights, 0.0, cap, factor)
            out[:, :, a] = checkpoint(dense, q[:, :, a], k[:, :, b], v[:, :, b], *there, use_reentrant=False)
        return out

    return Kernel("rows", refuses, run)
