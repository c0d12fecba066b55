"""attend under a static pattern: every query with the keys it may look at, gathered in rows.

The sights of a score name the rows; rows run as batches of small dense products, a slab of them at a time, and the
partial softmaxes of a query under several sights are merged. The backward pass keeps the output and log(sum exp) of
every query and makes the weights again. Cost and memory follow the pairs that are seen. Child et al. 2019; Dao 2023.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.layout import Layout
from ...core.product import on_onednn
from ...core.score import Causal, Same, Score, conjuncts, given, split
from ...core.sparse import Block, Column, Marks, Near, Rows, Sight, Sparse
from ..backend import Kernel
from ..check import Draw, mixed
from ..online_softmax import OnlineSoftmax, finish, merge
from .attend_blocks import _learn, _learned, partial

LEAST = 256  # tokens under which one dense call is quicker
ROOM = 1 << 21  # scores held at a time


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
    mask, terms = split(score)
    if sum(isinstance(t, Sparse) for t in terms) != 1:
        return "the score has no pattern, or several"
    if dropout > 0:
        return "weights that are made twice cannot be dropped at random"
    if torch.compiler.is_compiling():
        return "rows depend on the data"
    if given(score):
        return "the score was made for the tokens as they stand"
    if q_at is not k_at:
        return "queries and keys stand at different places"
    if q_at.pos.shape[-1] != 1:
        return "rows need one coordinate per token"
    if Same() not in conjuncts(mask) or any(not isinstance(m, Same | Causal) for m in conjuncts(mask)):
        return "documents may mix, or a mask does more than tell what is before"
    if q_at.longest < LEAST:
        return f"{q_at.longest} tokens: one dense call is quicker under {LEAST}"
    if not q_at.derive("from 0", lambda: _from_zero(q_at.as_rows())):
        return "a sequence does not count its tokens from 0"
    return "the score learns something that cannot be found in its fields" if _learned(score) is None else None


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
    pattern = next(t for t in split(score)[1] if isinstance(t, Sparse))
    times, rows = q.shape[1] // k.shape[1], q_at.as_rows()
    k, v = (x if times == 1 else x.repeat_interleave(times, 1) for x in (k, v))
    q, k, v = (q_at.to_rows(x.transpose(1, 2)).transpose(1, 2) for x in (q, k, v))
    alike: dict[tuple[Sight, ...], list[int]] = {}
    for head, sights in enumerate(pattern.heads):
        alike.setdefault(sights, []).append(head)
    outs, learned = [], _learned(score) or ()
    with torch.autocast(q.device.type, enabled=False):
        for sights, heads in alike.items():
            plan = _Plan(score, sights, pattern.counted, heads, rows, scale, cap)
            if len(alike) > 1:
                a, b, c = (x[:, heads] for x in (q, k, v))
            else:
                a, b, c = q, k, v
            outs.append(_Attend.apply(plan, a, b.to(q.dtype), c.to(q.dtype), *learned))
    order = torch.tensor([h for heads in alike.values() for h in heads]).argsort()
    out = outs[0] if len(outs) == 1 else torch.cat(outs, 1)[:, order]
    return q_at.from_rows(out.transpose(1, 2)).transpose(1, 2)


class Slab(NamedTuple):
    """Some rows, what may be looked at in them, and what is added: (B|1, 1|H, r, a, m)."""

    q: Tensor  # (r, a), the number of tokens for none
    k: Tensor  # (r, m)
    seen: Tensor
    bias: Tensor | None


class _Plan:
    """What the heads of one kind look at."""

    def __init__(
        self,
        score: Score,
        sights: tuple[Sight, ...],
        counted: bool,
        heads: list[int],
        at: Layout,
        scale: float,
        cap: float | None,
    ) -> None:
        mask, terms = split(score)
        self.causal = Causal() in conjuncts(mask)
        self.terms = [t for t in terms if not isinstance(t, Sparse)]
        self.sights, self.counted, self.heads, self.at = sights, counted, heads, at
        self.scale, self.cap = scale, cap

    def cuts(self, batch: int) -> Iterator[tuple[int, Rows]]:
        """(which sight, rows that fit the room)."""
        for i, sight in enumerate(self.sights):
            for rows in sight.rows(self.at.length, self.causal):
                pairs = batch * len(self.heads) * rows.q.shape[1] * rows.k.shape[1]
                step = max(1, ROOM // max(1, pairs))
                for r in range(0, len(rows.q) if pairs else 0, step):
                    yield i, Rows(rows.q[r : r + step], rows.k[r : r + step])

    def slab(self, which: int, rows: Rows) -> Slab:
        length, device = self.at.length, self.at.device
        q, k = (torch.where(x < 0, length, x).to(device) for x in rows)
        i, j = q[:, :, None], k[:, None]
        seen = j < length
        if not self.sights[which].exact:
            seen = seen & self.sights[which].sees(i, j)
        if self.causal:
            seen = seen & (j <= i)
        if not self.counted:  # what an earlier sight sees is not seen again
            for other in self.sights[:which]:
                seen = seen & ~other.sees(i, j)
        seen = seen[None, None]
        if not self.at.full:
            seen = seen & F.pad(self.at.valid, (0, 1))[:, k][:, None, :, None]
        bias = None
        if self.terms:
            at = [Layout(torch.zeros_like(x), x[..., None]) for x in (q, k)]
            values = [t.value(*at) for t in self.terms]  # (r|1, H|1, a, m)
            bias = sum(values[1:], values[0]).transpose(0, 1)[None]
            bias = bias if bias.shape[1] == 1 else bias[:, self.heads]
        return Slab(q, k, seen, bias)

    def logits(self, q: Tensor, k: Tensor, slab: Slab) -> tuple[Tensor, Tensor | None]:
        """((B, H, r, a, m) logits, tanh of the capped products), in float32 at least."""
        raw = q @ k.mT
        x, bent = raw.to(torch.promote_types(raw.dtype, torch.float32)) * self.scale, None
        if self.cap is not None:
            bent = torch.tanh(x / self.cap)
            x = self.cap * bent
        if slab.bias is not None:
            x = x + slab.bias.detach().to(x.dtype)
        return x.masked_fill(~slab.seen, -torch.inf), bent


class _Attend(torch.autograd.Function):
    """q (B, H, L, E), k (B, H, L, E), v (B, H, L, V) -> (B, H, L, V)."""

    @staticmethod
    @on_onednn()
    def forward(ctx: Any, plan: _Plan, q: Tensor, k: Tensor, v: Tensor, *learned: Tensor) -> Tensor:
        length, wide = q.shape[2], torch.promote_types(q.dtype, torch.float32)
        a, b, c = (F.pad(x, (0, 0, 0, 1)) for x in (q, k, v))  # one place more, for no token
        top = torch.full(a.shape[:3], -torch.inf, dtype=wide, device=q.device)
        so_far = OnlineSoftmax(top, torch.zeros_like(top), torch.zeros_like(c, dtype=wide))
        for cut in plan.cuts(len(q)):
            slab = plan.slab(*cut)
            x, _ = plan.logits(_take(a, slab.q), _take(b, slab.k), slab)
            new = partial(x.flatten(0, 1), _take(c, slab.k).flatten(0, 1))
            at = slab.q.flatten()
            old = OnlineSoftmax(*(z.index_select(2, at) for z in so_far))
            both = merge(old, OnlineSoftmax(*(z.reshape(o.shape) for z, o in zip(new, old, strict=True))))
            for z, value in zip(so_far, both, strict=True):
                z.index_copy_(2, at, value)
        so_far = OnlineSoftmax(*(z[:, :, :length] for z in so_far))
        out = finish(so_far).to(v.dtype)
        ctx.plan, ctx.learned = plan, learned
        ctx.save_for_backward(q, k, v, out, so_far.max + so_far.sum.log())
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    @on_onednn()
    def backward(ctx: Any, grad: Tensor) -> Any:
        plan: _Plan = ctx.plan
        q, k, v, out, norm = ctx.saved_tensors
        norm = torch.where(norm.isinf(), 0, norm)  # a query that saw nothing has weight exp(-inf - 0) = 0 everywhere
        wide, length = norm.dtype, q.shape[2]
        delta = (grad.to(wide) * out).sum(-1)
        norm, delta = (F.pad(x, (0, 1)) for x in (norm, delta))
        q, k, v, grad = (F.pad(x, (0, 0, 0, 1)) for x in (q, k, v, grad))
        dq, dk, dv = (torch.zeros_like(x, dtype=wide) for x in (q, k, v))
        dl = [torch.zeros_like(x) for x in ctx.learned]
        for cut in plan.cuts(len(q)):
            with torch.set_grad_enabled(bool(dl)):
                slab = plan.slab(*cut)
            a, b, c, g = _take(q, slab.q), _take(k, slab.k), _take(v, slab.k), _take(grad, slab.q)
            x, bent = plan.logits(a, b, slab)
            p = torch.exp(x - _take(norm, slab.q)[..., None])
            _give(dv, slab.k, p.to(q.dtype).mT @ g)
            ds = p * ((g @ c.mT).to(wide) - _take(delta, slab.q)[..., None])
            if dl and slab.bias is not None:
                _learn(dl, slab.bias, ctx.learned, ds)
            if bent is not None:
                ds = ds * (1 - bent.square())
            ds = (ds * plan.scale).to(q.dtype)
            _give(dq, slab.q, ds @ b)
            _give(dk, slab.k, ds.mT @ a)
        return None, *(d[:, :, :length].to(x.dtype) for d, x in ((dq, q), (dk, k), (dv, v))), *dl


def _take(x: Tensor, at: Tensor) -> Tensor:
    """(B, H, L, ...) at places (r, a) -> (B, H, r, a, ...)."""
    return x.index_select(2, at.flatten()).unflatten(2, at.shape)


def _give(into: Tensor, at: Tensor, x: Tensor) -> None:
    """Add x (B, H, r, a, E) to the places (r, a) it came from."""
    into.index_add_(2, at.flatten(), x.flatten(2, 3).to(into.dtype))


def _from_zero(at: Layout) -> bool:
    place = torch.arange(at.length, device=at.device)
    return bool(((at.pos[..., 0] == place) | ~at.valid).all())


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), mixed(device)
    q, k, v = draw(2, 4, 70, 8), draw(2, 2, 70, 8), draw(2, 2, 70, 8)
    pattern = Sparse(((Near(None), Column(None)), (Block(5), Marks(5, 2))) * 2)
    return q, k, v, (Same() & Causal()) + pattern, at, at, 0.35


ROWS = Kernel("rows", refuses, run, sample)
