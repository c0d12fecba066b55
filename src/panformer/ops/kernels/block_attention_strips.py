"""Block attention a few pairs at a time, so that their scores stay in the cache, and with memory linear in length.

A query's softmax is kept below its largest score so far, as in `online_softmax`. The backward pass keeps the output and
log(sum exp) of every query and makes the weights again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ...core.product import on_onednn
from ..backend import Kernel
from ..online_softmax import OnlineSoftmax, finite

LEAST = 1 << 20  # scores up to which all at once are as fast, and may be differentiated twice
ROOM = 1 << 18  # scores of a strip


def refuses(
    q: Tensor, k: Tensor, v: Tensor, real: Tensor, asks: Tensor, looks: Tensor, rest: OnlineSoftmax | None
) -> str | None:
    if q.device.type != "cpu":
        return "many small calls; elsewhere all at once is quicker"
    if torch.compiler.is_compiling():
        return "a program would hold every strip"
    scores = asks.numel() * q.shape[3] ** 2
    return f"{scores} scores: all at once is as quick up to {LEAST}" if scores <= LEAST else None


def run(
    q: Tensor, k: Tensor, v: Tensor, real: Tensor, asks: Tensor, looks: Tensor, rest: OnlineSoftmax | None
) -> Tensor:
    n, h, r, s, e = q.shape
    first = torch.arange(n * h, device=q.device).view(n, h, 1) * r
    i, j = ((first + z.clamp(min=0)).flatten() for z in (asks, looks))
    hidden = ~real.expand(n, h, r, s).reshape(-1, s)
    q_, k_, v_ = (x.reshape(-1, *x.shape[3:]) for x in (q * e**-0.5, k, v))
    out, norm = _Strips.apply(q_, k_, v_, i, j, hidden, (asks < 0).flatten())
    if rest is not None:
        more, total, sums = (z.reshape(-1, *z.shape[3:]).to(norm.dtype) for z in rest)
        top = finite(torch.maximum(norm, more)).detach()
        mine, theirs = torch.exp(norm - top), torch.exp(more - top)
        total = mine + theirs * total
        out = (mine[..., None] * out + theirs[..., None] * sums) / torch.where(total > 0, total, 1)[..., None]
    return out.to(q.dtype).view(n, h, r, s, -1)


class _Strips(torch.autograd.Function):
    """q, k (R, S, E), v (R, S, V), pairs i, j (P,), hidden keys (R, S), no pair (P,) -> softmax (R, S, V), log sum exp."""

    @staticmethod
    @on_onednn()
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, i: Tensor, j: Tensor, hidden: Tensor, none: Tensor
    ) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(q.dtype, torch.float32)
        out = v.new_zeros(*q.shape[:2], v.shape[2], dtype=wide)
        top, total = (q.new_full(q.shape[:2], x, dtype=wide) for x in (-torch.inf, 0))
        for a, b, out_of_sight in _strips(i, j, hidden, none):
            score = _scores(q, k, a, b, out_of_sight, wide)
            before = top.index_select(0, a)
            top.scatter_reduce_(0, a[:, None].expand_as(before), score.amax(-1), "amax")
            now = finite(top.index_select(0, a))
            weight = score.sub_(now[..., None]).exp_()
            fade = torch.exp(before - now)
            # a query that stands in several pairs of the strip is brought below its new maximum once: equal writes
            total.index_copy_(0, a, fade * total.index_select(0, a)).index_add_(0, a, weight.sum(-1))
            out.index_copy_(0, a, fade[..., None] * out.index_select(0, a))
            out.index_add_(0, a, (weight.to(v.dtype) @ v.index_select(0, b)).to(wide))
        out /= torch.where(total > 0, total, 1)[..., None]
        norm = top + total.log()
        ctx.save_for_backward(q, k, v, i, j, hidden, none, out, norm)
        return out, norm

    @staticmethod
    @torch.autograd.function.once_differentiable
    @on_onednn()
    def backward(ctx: Any, g: Tensor, g_norm: Tensor) -> Any:
        q, k, v, i, j, hidden, none, out, norm = ctx.saved_tensors
        kind, wide = q.dtype, norm.dtype
        norm, common = finite(norm), (g * out).sum(-1) - g_norm
        g_q, g_k, g_v = (torch.zeros_like(x, dtype=wide) for x in (q, k, v))
        for a, b, out_of_sight in _strips(i, j, hidden, none):
            weight = _scores(q, k, a, b, out_of_sight, wide).sub_(norm.index_select(0, a)[..., None]).exp_()
            here = g.index_select(0, a).to(kind)
            g_v.index_add_(0, b, (weight.to(kind).mT @ here).to(wide))
            pull = (here @ v.index_select(0, b).mT).to(wide).sub_(common.index_select(0, a)[..., None])
            slope = pull.mul_(weight).to(kind)
            g_q.index_add_(0, a, (slope @ k.index_select(0, b)).to(wide))
            g_k.index_add_(0, b, (slope.mT @ q.index_select(0, a)).to(wide))
        return g_q.to(kind), g_k.to(kind), g_v.to(v.dtype), None, None, None, None


def _strips(i: Tensor, j: Tensor, hidden: Tensor, none: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The pairs of every strip, and which of their keys (P, S) are not seen."""
    many = max(1, ROOM // hidden.shape[1] ** 2)
    for a, b, off in zip(i.split(many), j.split(many), none.split(many), strict=True):
        yield a, b, hidden.index_select(0, b) | off[:, None]


def _scores(q: Tensor, k: Tensor, a: Tensor, b: Tensor, out_of_sight: Tensor, wide: torch.dtype) -> Tensor:
    score = (q.index_select(0, a) @ k.index_select(0, b).mT).to(wide)
    return score.masked_fill_(out_of_sight[:, None], -torch.inf)


STRIPS = Kernel("strips", refuses, run)
