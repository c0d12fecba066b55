"""attend block by block: exact, with memory linear in length forward and backward, under any score.

Blocks of queries are independent and run one after the other; each reads the keys in blocks and merges their partial
softmaxes, undivided until the end. The backward pass keeps only the output and log(sum exp) of every query, and makes
the weights again. Blocks that the score's mask leaves empty are never touched, those it leaves whole need no mask.
Dao 2023, FlashAttention-2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...core.layout import Layout
from ...core.product import on_onednn
from ...core.score import FULL, NONE, PART, Mask, Score, Sum, given, split
from ..backend import Kernel
from ..online_softmax import OnlineSoftmax, finish, merge, part
from .attend_sdpa import CAUSAL, PLAIN

SIZE = 256  # tokens per block
LEAST = 1 << 20  # scores per head under which one dense call is quicker where more than a mask is added,
MASKED = 1 << 22  # and where it is a mask alone


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
    if dropout > 0:
        return "weights that are made twice cannot be dropped at random"
    if torch.compiler.is_compiling():
        return "blocks depend on the data"
    if q.is_cuda:
        return "many small calls; on a GPU the fused call is quicker"
    if q_at.pos.shape[-1] != 1:
        return "blocks need one coordinate per token"
    if given(score):
        return "the score was made for the tokens as they stand"
    if cap is None and ((score == CAUSAL and q_at is k_at) or (score == PLAIN and q_at.full and k_at.full)):
        return "the fused call needs no dense score here"
    pairs = q.shape[2] * k.shape[2]
    least = MASKED if cap is None and not split(score)[1] else LEAST
    if pairs < least:
        return f"{pairs} scores per head: one dense call is quicker under {least}"
    if _learned(score) is None:
        return "the score learns something that cannot be found in its fields"
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
    plan = Plan(score, q_at, k_at, scale, cap)
    with torch.autocast(q.device.type, enabled=False):
        return _Attend.apply(plan, q, k.to(q.dtype), v.to(q.dtype), *(_learned(score) or ()))


class Tile(NamedTuple):
    """One block of queries against one block of keys."""

    q: slice
    k: slice
    whole: bool  # nothing here is masked
    q_at: Layout
    k_at: Layout


class Plan:
    """Which tiles there are, and the scores of one."""

    def __init__(self, score: Score, q_at: Layout, k_at: Layout, scale: float, cap: float | None) -> None:
        self.mask, self.terms = split(score)
        self.scale, self.cap = scale, cap
        if q_at is k_at:
            self.rows = q_at.derive(("tiles", self.mask, SIZE), lambda: tiles(self.mask, q_at, k_at, SIZE))
        else:
            self.rows = tiles(self.mask, q_at, k_at, SIZE)

    def bias(self, tile: Tile) -> Tensor | None:
        """(B|1, H|1, t, s): the terms of the score that are no masks."""
        values = [term.value(tile.q_at, tile.k_at) for term in self.terms]
        return sum(values[1:], values[0]) if values else None

    def logits(self, q: Tensor, k: Tensor, tile: Tile, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """((B, H, t, s) logits, tanh of the capped products), in float32 at least. q (B, H, t, E), k (B, G, s, E)."""
        raw = grouped(q, k.mT)
        x, bent = raw.to(torch.promote_types(raw.dtype, torch.float32)) * self.scale, None
        if self.cap is not None:
            bent = torch.tanh(x / self.cap)
            x = self.cap * bent
        if bias is not None:
            x = x + bias.to(x.dtype)
        if not tile.whole and self.mask is not None:
            x = x.masked_fill(~self.mask.keep(tile.q_at, tile.k_at), -torch.inf)
        return x, bent


class _Attend(torch.autograd.Function):
    @staticmethod
    @on_onednn()
    def forward(ctx: Any, plan: Plan, q: Tensor, k: Tensor, v: Tensor, *learned: Tensor) -> Tensor:
        out, norm = answer(plan, q, k, v)
        ctx.plan, ctx.learned = plan, learned
        ctx.save_for_backward(q, k, v, out, norm)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    @on_onednn()
    def backward(ctx: Any, grad: Tensor) -> Any:
        q, k, v, out, norm = ctx.saved_tensors
        found, dl = gradients(ctx.plan, q, k, v, norm, grad, mean_of(grad, out, norm.dtype), ctx.learned)
        return None, *(d.to(q.dtype) for d in found), *dl


def answer(plan: Plan, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """(attention (B, H, T, V), log(sum exp) of every query (B, H, T)) of the plan's tiles; 0 and -inf where none sees."""
    out = q.new_zeros(*q.shape[:-1], v.shape[-1])
    norm = torch.full(q.shape[:-1], -torch.inf, dtype=torch.promote_types(q.dtype, torch.float32), device=q.device)
    for row in plan.rows:
        seen: OnlineSoftmax | None = None
        for tile in row:
            x, _ = plan.logits(q[:, :, tile.q], k[:, :, tile.k], tile, plan.bias(tile))
            new = partial(x, v[:, :, tile.k])
            seen = new if seen is None else merge(seen, new)
        if seen is not None:
            here = row[0].q
            out[:, :, here] = finish(seen)
            norm[:, :, here] = seen.max + seen.sum.log()
    return out, norm


def mean_of(grad: Tensor, out: Tensor, wide: torch.dtype) -> Tensor:
    """(B, H, T, 1): what the weights' gradients of a query are on average, by its weights."""
    return (grad.to(wide) * out).sum(-1, keepdim=True)


def gradients(
    plan: Plan, q: Tensor, k: Tensor, v: Tensor, norm: Tensor, grad: Tensor, mean: Tensor, learned: Sequence[Tensor]
) -> tuple[tuple[Tensor, Tensor, Tensor], list[Tensor]]:
    """(gradients of q, k and v, of what the score learns) through the plan's tiles.

    `norm` is log(sum exp) over all keys that a query sees, be they in the plan or not; `mean` as of `mean_of`.
    """
    dl = [torch.zeros_like(x) for x in learned]
    norm = torch.where(norm.isinf(), 0, norm)  # a query that saw nothing has weight exp(-inf - 0) = 0 everywhere
    wide = norm.dtype
    dq, dk, dv = (torch.zeros_like(x, dtype=wide) for x in (q, k, v))
    for row in plan.rows:
        for tile in row:
            a, b = tile.q, tile.k
            with torch.set_grad_enabled(bool(dl)):
                bias = plan.bias(tile)
            x, bent = plan.logits(q[:, :, a], k[:, :, b], tile, None if bias is None else bias.detach())
            p = torch.exp(x - norm[:, :, a, None])
            dv[:, :, b] += _summed(p.to(q.dtype), grad[:, :, a], v.shape[1])
            ds = p * (grouped(grad[:, :, a], v[:, :, b].mT).to(wide) - mean[:, :, a])
            if dl and bias is not None:
                _learn(dl, bias, learned, ds)
            if bent is not None:
                ds = ds * (1 - bent.square())
            ds = (ds * plan.scale).to(q.dtype)
            dq[:, :, a] += grouped(ds, k[:, :, b])
            dk[:, :, b] += _summed(ds, q[:, :, a], k.shape[1])
    return (dq, dk, dv), dl


def tiles(mask: Mask | None, q_at: Layout, k_at: Layout, size: int) -> list[list[Tile]]:
    """For every block of queries, the blocks of keys that it must look at."""
    cuts = [[(a, min(a + size, at.length)) for a in range(0, at.length, size)] for at in (q_at, k_at)]
    k_spans = [k_at.span(a, b) for a, b in cuts[1]]
    kinds = [[FULL] * len(cuts[1])] * len(cuts[0])
    if mask is not None:
        found = mask.blocks(q_at, k_at, size).flatten(0, 1)  # (B * H, blocks of queries, blocks of keys)
        kinds = torch.where((found == found[0]).all(0), found[0], PART).tolist()
    rows = []
    for (a, b), row in zip(cuts[0], kinds, strict=True):
        at = q_at.span(a, b)
        rows.append([
            Tile(slice(a, b), slice(c, d), kind == FULL, at, there)
            for (c, d), kind, there in zip(cuts[1], row, k_spans, strict=True)
            if kind != NONE
        ])  # fmt: skip
    return rows


def partial(x: Tensor, v: Tensor) -> OnlineSoftmax:
    """`online_softmax.part` where heads share values and weights may be narrower than their sums."""
    if v.shape[1] == x.shape[1] and v.dtype == x.dtype:
        return part(x, v)
    top = x.amax(-1)
    weight = torch.exp(x - torch.where(top.isinf(), 0, top)[..., None])
    return OnlineSoftmax(top, weight.sum(-1), grouped(weight.to(v.dtype), v).to(x.dtype))


def grouped(x: Tensor, y: Tensor) -> Tensor:
    """x (B, H, t, n) @ y (B, G, n, m) -> (B, H, t, m): the heads of a group are rows of one product."""
    b, h, t, n = x.shape
    g = y.shape[1]
    return x @ y if h == g else (x.reshape(b, g, h // g * t, n) @ y).view(b, h, t, -1)


def _summed(x: Tensor, y: Tensor, groups: int) -> Tensor:
    """x (B, H, t, n)' @ y (B, H, t, m), summed over the heads of a group -> (B, G, n, m)."""
    b, h, t, _ = x.shape
    x, y = (z.reshape(b, groups, h // groups * t, z.shape[-1]) for z in (x, y))
    return x.mT @ y


def _learn(into: list[Tensor], bias: Tensor, learned: Sequence[Tensor], ds: Tensor) -> None:
    """Add the gradient of one tile's bias to what the score learns."""
    if not bias.requires_grad:
        return
    found = torch.autograd.grad(bias, learned, ds.sum_to_size(bias.shape).to(bias.dtype), allow_unused=True)
    for total, new in zip(into, found, strict=True):
        if new is not None:
            total += new


def _learned(score: Score) -> tuple[Tensor, ...] | None:
    """What the gradient of a score goes to, or None where it is hidden."""
    if not torch.is_grad_enabled():
        return ()
    found = list({id(t): t for t in _tensors(score) if t.requires_grad}.values())
    one = Layout.dense(1, 1)
    rest = split(score)[1]
    hidden = not found and any(term.value(one, one).requires_grad for term in rest)
    return None if hidden else tuple(found)


def _tensors(score: Score) -> Iterator[Tensor]:
    for value in score.terms if isinstance(score, Sum) else vars(score).values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, nn.Module):
            yield from value.parameters()
        elif isinstance(value, Score):
            yield from _tensors(value)


BLOCKS = Kernel("blocks", refuses, run)
