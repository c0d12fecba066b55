"""attend within a window, in blocks: O(n w) time and memory instead of O(n^2).

Queries are cut into blocks of the window's size; a block sees itself, the block before it and, where
the score looks both ways, the block after it. Blocks become rows of a batch with layouts of their own,
so any score gives its values there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.layout import Layout
from ...core.score import Causal, Mask, Same, Score, Window, conjuncts, given, split
from ..backend import Kernel
from ..check import Draw, mixed
from ..online_softmax import finish
from .attend_blocks import grouped, partial


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
    if cap is not None and dropout > 0:
        return "capped products are not dropped at random here"
    return no_window(score, q_at, k_at)


def no_window(score: Score, q_at: Layout, k_at: Layout) -> str | None:
    """Why `within` cannot serve, or None."""
    size = window(score)
    if size is None:
        return "the score has no window"
    if given(score):
        return "the score was made for the tokens as they stand"
    if not _has(split(score)[0], Same):
        return "the score lets documents mix"
    if q_at is not k_at:
        return "queries and keys stand at different places"
    if q_at.pos.shape[-1] != 1:
        return "a window in blocks needs one coordinate per token"
    if q_at.longest < 4 * size:
        return f"length {q_at.longest} is under four windows of {size}: a dense mask is cheaper"
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
    def call(q: Tensor, k: Tensor, v: Tensor, q_at: Layout, k_at: Layout) -> Tensor:
        value = score.value(q_at, k_at).to(q.dtype)
        if cap is not None:
            return finish(partial(cap * torch.tanh(grouped(q, k.mT) * (scale / cap)) + value, v))
        dead = (value == -float("inf")).all(-1, keepdim=True)
        return F.scaled_dot_product_attention(
            q, k, v, value.masked_fill(dead, 0), dropout, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
        ).masked_fill(dead, 0)

    return within(call, q, k, v, score, q_at)


def within(call: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, score: Score, q_at: Layout) -> Tensor:
    """`call(q, k, v, where queries sit, where keys sit)` on every block of queries and the keys near it."""
    size = window(score)
    assert size is not None
    rows = q_at.as_rows()
    qr, kr, vr = (q_at.to_rows(x.transpose(1, 2)) for x in (q, k, v))  # (N, L, H, E)
    after = 0 if _has(split(score)[0], Causal) else 1
    qb, kb, vb = _blocks(qr, size, 0, 0), _blocks(kr, size, 1, after), _blocks(vr, size, 1, after)
    qb_at, kb_at = q_at.derive(("window", size, after), lambda: (_cut(rows, size, 0, 0), _cut(rows, size, 1, after)))
    out = call(*(x.transpose(1, 2) for x in (qb, kb, vb)), qb_at, kb_at)
    n, length = qr.shape[:2]
    out = out.transpose(1, 2).reshape(n, -1, *out.shape[1:2], out.shape[-1])[:, :length]
    return q_at.from_rows(out).transpose(1, 2)


def _blocks(x: Tensor, size: int, before: int, after: int, fill: int = 0) -> Tensor:
    """(N, L, ...) -> (N * blocks, size * (1 + before + after), ...): each block with its neighbours."""
    tail = -x.shape[1] % size
    lead = [0, 0] * (x.dim() - 2)
    x = F.pad(x, (*lead, before * size, after * size + tail), value=fill)
    wide = size * (1 + before + after)
    return x.unfold(1, wide, size).movedim(-1, 2).flatten(0, 1)


def _cut(at: Layout, size: int, before: int, after: int) -> Layout:
    seg = at.seg.expand(at.batch, at.length)
    return Layout(_blocks(seg, size, before, after, -1), _blocks(at.pos, size, before, after))


def window(score: Score) -> int | None:
    sizes = [m.size for m in conjuncts(split(score)[0]) if isinstance(m, Window)]
    return min(sizes) if sizes else None


def _has(mask: Mask | None, kind: type[Mask]) -> bool:
    return any(isinstance(m, kind) for m in conjuncts(mask))


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), mixed(device)
    q, k, v = draw(2, 4, 70, 8), draw(2, 2, 70, 8), draw(2, 2, 70, 8)
    return q, k, v, Same() & Causal() & Window(5), at, at, 0.35


WINDOW = Kernel("window", refuses, run, sample)
