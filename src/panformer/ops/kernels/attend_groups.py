"""attend over packed sequences, neighbours of equal length as one batch: no padding, no mask between documents, no copy.

A packed row sorted by length is a few blocks of n sequences of length L each; such a block is a view of shape
(n, L), and runs as a dense batch. Unsorted rows still do no work on padding, in more and smaller calls.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.score import Causal, Same, Score, conjuncts, given, split
from ..backend import Kernel
from ..check import Draw
from . import attend_products, attend_sdpa

SMALL = 8  # tokens per block on average under which calls cost more than the padding they save

Block = tuple[int, int, int, Layout]  # first token, sequences, length, where they sit


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
    if cap is not None:
        return "the fused call cannot cap its products"
    if given(score):
        return "the score was made for the tokens as they stand"
    if q_at is not k_at:
        return "queries and keys stand at different places"
    if q_at.full or q_at.batch != 1:
        return "not one packed row"
    if Same() not in conjuncts(split(score)[0]):
        return "the score lets documents mix"
    if torch.compiler.is_compiling():
        return "blocks depend on the data"
    if not (q_at.padless or q_at.derive("no padding", lambda: bool(q_at.valid.all()))):
        return "the row has padding"
    blocks = q_at.derive("blocks", lambda: _blocks(q_at))
    if q_at.length < SMALL * len(blocks):
        return f"{len(blocks)} blocks of under {SMALL} tokens: one padded row each is cheaper"
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
    blocks: list[Block] = q_at.derive("blocks", lambda: _blocks(q_at))
    grouped = q.shape[1] != k.shape[1]
    outs = []
    for start, count, length, at in blocks:
        a, b, c = (_cut(x, start, count, length) for x in (q, k, v))
        if attend_products.refuses(a, b, c, score, at, at, scale, dropout) is None:
            out = attend_products.run(a, b, c, score, at, at, scale)  # (n, H, L, E)
        else:
            out = attend_sdpa.call(a, b, c, score, at, at, scale, dropout, grouped)
        outs.append(out.transpose(1, 2).flatten(0, 1))
    return torch.cat(outs)[None].transpose(1, 2)


def _cut(x: Tensor, start: int, count: int, length: int) -> Tensor:
    """(1, H, T, E) -> (n, H, L, E), a view."""
    return x[0, :, start : start + count * length].unflatten(1, (count, length)).transpose(0, 1)


def _blocks(at: Layout) -> list[Block]:
    out: list[Block] = []
    start = 0
    lengths, counts = torch.unique_consecutive(at.lengths, return_counts=True)
    for length, count in zip(lengths.tolist(), counts.tolist(), strict=True):
        pos = at.pos[0, start : start + count * length].view(count, length, -1)
        seg = torch.zeros(1, 1, dtype=torch.int64, device=at.device).expand(count, length)
        out.append((start, count, length, Layout(seg, pos, full=True)))
        start += count * length
    return out


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), Layout.packed([9, 9, 20, 12], device)
    return draw(1, 4, 50, 8), draw(1, 2, 50, 8), draw(1, 2, 50, 8), Same() & Causal(), at, at, 0.35


GROUPS = Kernel("groups", refuses, run, sample)
