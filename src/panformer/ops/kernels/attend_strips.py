"""attend within a window, a strip of queries at a time: few scores that nobody needs, and those of a strip in the cache.

A block of w queries and the 2 w keys that it may see hold twice the scores that count; a strip of s queries sees
w + s keys. The backward pass keeps the inputs alone and makes the weights of a strip again, so that memory grows as the
tokens do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.product import on_onednn
from ...core.score import Causal, Same, Score, Window, conjuncts, split
from ..backend import Kernel
from ..check import Draw
from . import attend_window

STRIP = 64  # queries; twice as many of 16 bits, whose products take little longer than the calls
EVEN = 32  # the keys of a strip are a multiple of this many, which fill whole vectors
ROOM = 1 << 20  # scores held at a time


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
    if torch.compiler.is_compiling():
        return "a loop over strips would be unrolled by the compiler"
    if q.is_cuda:
        return "many small calls; on a GPU blocks are quicker"
    if dropout > 0 or cap is not None:
        return "weights are neither dropped nor capped here"
    mask, terms = split(score)
    parts = conjuncts(mask)
    size = attend_window.window(score)
    if size is None:
        return "the score has no window"
    if terms or any(not isinstance(m, Same | Causal | Window) for m in parts) or Same() not in parts:
        return "documents may mix, or the score does more than tell what is near"
    if q_at is not k_at or q_at.pos.shape[-1] != 1:
        return "queries and keys stand at different places, or have no one coordinate"
    if Causal() not in parts and not q_at.full:
        return "padding after a sequence would be seen"
    if q_at.longest < 4 * STRIP or q_at.longest <= size:
        return f"{q_at.longest} tokens: one dense call is quicker"
    if not q_at.derive("counts on", lambda: _counts_on(q_at.as_rows())):
        return "positions do not count the tokens"
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
    size = attend_window.window(score)
    assert size is not None
    after = 0 if Causal() in conjuncts(split(score)[0]) else size - 1
    rows = [q_at.to_rows(x.transpose(1, 2)) for x in (q, k.to(q.dtype), v.to(q.dtype))]  # (N, L, H, E)
    with torch.autocast(q.device.type, enabled=False):
        out: Tensor = _Strips.apply(*rows, size, after, scale)
    return q_at.from_rows(out).transpose(1, 2)


class _Strips(torch.autograd.Function):
    @staticmethod
    @on_onednn()
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, size: int, after: int, scale: float) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.rest = size, after, scale
        out = q.new_empty(*q.shape[:3], v.shape[-1])
        cut = _Cut(q, k, size, after, scale)
        for s in cut.strips():
            weight = cut.weights(cut.queries(q, s), cut.keys(k, s), s)
            cut.put(out, s, torch.bmm(weight, cut.keys(v, s)))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    @on_onednn()
    def backward(ctx: Any, grad: Tensor) -> Any:
        q, k, v = ctx.saved_tensors
        size, after, scale = ctx.rest
        wide = torch.promote_types(q.dtype, torch.float32)
        dq = torch.empty_like(q, memory_format=torch.contiguous_format)
        dk, dv = (x.new_zeros(x.shape, dtype=wide) for x in (k, v))
        cut = _Cut(q, k, size, after, scale)
        for s in cut.strips():
            a, b, c, g = cut.queries(q, s), cut.keys(k, s), cut.keys(v, s), cut.queries(grad, s)
            weight = cut.weights(a, b, s)
            cut.add(dv, s, torch.bmm(weight.mT, g))
            ds = torch._softmax_backward_data(torch.bmm(g, c.mT), weight, -1, q.dtype)
            cut.put(dq, s, scaled(ds, b, scale))
            cut.add(dk, s, scaled(ds.mT, a, scale))
        return dq, dk.to(k.dtype), dv.to(v.dtype), None, None, None


class Strip(NamedTuple):
    """Queries and the keys that they may see, of some rows and heads; the first key is `lead` before the first query."""

    rows: slice
    groups: slice
    heads: slice
    q: slice
    k: slice
    lead: int


class _Cut:
    """Strips of rows (N, L, H, E) as products want them: (n g, queries of all heads of a group, E)."""

    def __init__(self, q: Tensor, k: Tensor, size: int, after: int, scale: float) -> None:
        self.batch, self.length, heads = q.shape[:3]
        self.groups = k.shape[2]
        self.times = heads // self.groups
        self.size, self.after, self.scale = size, after, scale
        self.strip = STRIP if q.element_size() > 2 else 2 * STRIP
        self.masks: dict[tuple[int, int, int], list[tuple[slice, Tensor]]] = {}
        self.none = q.new_zeros(1)

    def strips(self) -> Iterator[Strip]:
        each = self.times * min(self.strip, self.length) * min(self.strip + self.size + self.after, self.length)
        groups = _even(self.groups, max(1, ROOM // each))
        rows = _even(self.batch, max(1, ROOM // (each * self.groups)))
        for a in range(0, self.length, self.strip):
            b = min(a + self.strip, self.length)
            first = max(0, a - self.size + 1) // EVEN * EVEN
            q, k = slice(a, b), slice(first, min(b + self.after, self.length))
            for n in rows:
                for g in groups:
                    yield Strip(n, g, slice(g.start * self.times, g.stop * self.times), q, k, a - first)

    def queries(self, x: Tensor, s: Strip) -> Tensor:
        x = x[s.rows, s.q, s.heads].unflatten(2, (-1, self.times))  # (n, s, g, r, E)
        return x.permute(0, 2, 3, 1, 4).reshape(x.shape[0] * x.shape[2], -1, x.shape[-1])

    def keys(self, x: Tensor, s: Strip) -> Tensor:
        return x[s.rows, s.k, s.groups].transpose(1, 2).flatten(0, 1).contiguous()

    def put(self, into: Tensor, s: Strip, x: Tensor) -> None:
        """The inverse of `queries`."""
        here = into[s.rows, s.q, s.heads]
        here.copy_(x.view(here.shape[0], here.shape[2], here.shape[1], -1).transpose(1, 2))

    def add(self, into: Tensor, s: Strip, x: Tensor) -> None:
        """The inverse of `keys`, added up."""
        here = into[s.rows, s.k, s.groups]
        here.add_(x.view(here.shape[0], here.shape[2], here.shape[1], -1).transpose(1, 2))

    def weights(self, q: Tensor, k: Tensor, s: Strip) -> Tensor:
        score = scaled(q, k.mT, self.scale)
        each = score.view(len(q), self.times, -1, score.shape[-1])
        for where, hidden in self.hidden(s.lead, *each.shape[2:]):
            each[..., where] += hidden
        return score.softmax(-1)

    def hidden(self, lead: int, queries: int, keys: int) -> list[tuple[slice, Tensor]]:
        """Columns in which some key is too far away, and -inf where it is (queries, columns); most strips are alike."""
        shape = lead, queries, keys
        if shape not in self.masks:
            row = lead + torch.arange(queries, device=self.none.device)[:, None]
            column = torch.arange(keys, device=self.none.device)
            early, late = max(0, lead + queries - self.size), lead + self.after + 1
            cuts = [slice(0, early), slice(late, keys)]
            far = row - column >= self.size, column - row > self.after
            self.masks[shape] = [
                (c, self.none.where(~f[:, c], -torch.inf)) for c, f in zip(cuts, far, strict=True) if c.start < c.stop
            ]
        return self.masks[shape]


def _even(count: int, most: int) -> list[slice]:
    """0 to count in pieces of nearly one size, none over `most`."""
    pieces = -(-count // most)
    return [slice(i * count // pieces, (i + 1) * count // pieces) for i in range(pieces)]


def scaled(x: Tensor, y: Tensor, scale: float) -> Tensor:
    """scale x y of batches of matrices."""
    return torch.baddbmm(x.new_zeros(1, 1, 1), x, y, beta=0, alpha=scale)


def _counts_on(rows: Layout) -> bool:
    step = rows.pos[..., 0].diff(dim=1) == 1
    return bool((step | ~rows.valid[:, 1:]).all())


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), Layout.packed([4 * STRIP + 9, 40], device=device)
    q, k, v = draw(1, 2, at.length, 8), draw(1, 1, at.length, 8), draw(1, 1, at.length, 8)
    return q, k, v, Same() & Causal() & Window(70), at, at, 0.35


STRIPS = Kernel("strips", refuses, run, sample)
