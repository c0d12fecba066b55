"""Exact softmax attention of a sequence that lies on several processes, under any score, with gradients.

In a ring keys and values go round, and every process joins the partial softmaxes of its queries; backward their
gradients go round with them. In a row heads are exchanged for tokens before, and tokens for heads after. Both at once
is one within the other. Liu et al. 2023, Ring Attention; Jacobs et al. 2023, DeepSpeed Ulysses; Fang and Zhao 2024, USP.

Bytes that a process sends forward, for t of its own tokens, H heads, G heads of keys and values, E numbers each, P
processes in rings of r and rows of u: (r - 1) 2 t G E in a ring and (u - 1) / u (2 H + 2 G) t E in a row, of every number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.score import Mask, Score, split
from ..ops.attend import attend as here
from ..ops.kernels.attend_blocks import Plan, _learned, answer, gradients, mean_of
from ..ops.online_softmax import OnlineSoftmax, finish, merge
from .grid import Grid, Spread


def attend(
    q: Tensor, k: Tensor, v: Tensor, score: Score, spread: Spread, scale: float, cap: float | None = None
) -> Tensor:
    """`ops.attend` where every process calls with its own tokens: q (B, H, t, E), k (B, G, t, E), v (B, G, t, V).

    A score that learns gets this process's share of its gradient; the shares add up.
    """
    grid = spread.grid
    if q.shape[2] != spread.here.length or k.shape[2] != spread.here.length:
        raise InputError(
            f"{q.shape[2]} queries and {k.shape[2]} keys where this process has {spread.here.length} tokens"
        )
    if grid.heads > 1:
        if k.shape[1] % grid.heads:
            raise InputError(f"{k.shape[1]} heads of keys and values do not divide among rows of {grid.heads}")
        score = _of_heads(score, grid.rank % grid.heads, q.shape[1] // grid.heads)
        q, k, v = (_Exchange.apply(grid, x, True) for x in (q, k, v))
    if grid.ring == 1:
        out = here(q, k, v, score, spread.at, spread.at, scale, 0.0, cap)
    else:
        learned = _learned(score)
        if learned is None:
            raise InputError("the score learns something that cannot be found in its fields")
        out = _Ring.apply(_Turns(spread, score, scale, cap), q, k, v, *learned)
    return out if grid.heads == 1 else _Exchange.apply(grid, out, False)


@dataclass(frozen=True)
class _Turns:
    """What a process computes while keys and values go round its ring."""

    spread: Spread
    score: Score
    scale: float
    cap: float | None

    def plan(self, turn: int) -> Plan:
        """Own queries against the keys that have come `turn` places."""
        place, ring = self.spread.grid.place, self.spread.grid.ring
        own, other = self.spread.along(place), self.spread.along((place - turn) % ring)
        return Plan(self.score, own, other, self.scale, self.cap)


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, turns: _Turns, q: Tensor, k: Tensor, v: Tensor, *learned: Tensor) -> Tensor:
        grid, seen = turns.spread.grid, None
        kv = own = [k.to(q.dtype), v.to(q.dtype)]
        for turn in range(grid.ring):
            last = turn + 1 == grid.ring
            arriving = None if last else grid.pass_on(kv)
            out, norm = answer(turns.plan(turn), q, *kv)
            new = OnlineSoftmax(norm, (norm > -torch.inf).to(norm.dtype), out.to(norm.dtype))
            seen = new if seen is None else merge(seen, new)
            kv = kv if arriving is None else arriving()
        assert seen is not None
        ctx.turns, ctx.learned = turns, learned
        out = finish(seen).to(q.dtype)
        ctx.save_for_backward(q, *own, out, seen.max + seen.sum.log())
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        turns: _Turns = ctx.turns
        grid, (q, k, v, out, norm) = turns.spread.grid, ctx.saved_tensors
        kv, mean = [k, v], mean_of(grad, out, norm.dtype)
        dq, *dkv = (torch.zeros_like(x, dtype=norm.dtype) for x in (q, k, v))
        dl = [torch.zeros_like(x) for x in ctx.learned]
        for turn in range(grid.ring):
            arriving = None if turn + 1 == grid.ring else grid.pass_on(kv)
            k, v = kv
            (new, *others), learned = gradients(turns.plan(turn), q, k, v, norm, grad, mean, ctx.learned)
            dq += new
            dl = [a + b for a, b in zip(dl, learned, strict=True)]
            dkv = grid.pass_on([a + b for a, b in zip(dkv, others, strict=True)], tag=2)()  # at last they are home
            kv = kv if arriving is None else arriving()
        return None, dq.to(q.dtype), *(d.to(q.dtype) for d in dkv), *dl


class _Exchange(torch.autograd.Function):
    """`to_tokens`: (B, H, t, E) of all heads -> (B, H / u, u t, E) of all tokens of the row; else the way back."""

    @staticmethod
    def forward(ctx: Any, grid: Grid, x: Tensor, to_tokens: bool) -> Tensor:
        ctx.grid, ctx.to_tokens = grid, to_tokens
        return _to_tokens(grid, x) if to_tokens else _to_heads(grid, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        back = _to_heads if ctx.to_tokens else _to_tokens
        return None, back(ctx.grid, grad), None


def _to_tokens(grid: Grid, x: Tensor) -> Tensor:
    pieces = grid.exchange(torch.stack(x.chunk(grid.heads, 1)))  # (u, B, H / u, t, E)
    return torch.cat(list(pieces), 2)


def _to_heads(grid: Grid, x: Tensor) -> Tensor:
    return torch.cat(list(grid.exchange(torch.stack(x.chunk(grid.heads, 2)))), 1)


# ---- a row's process sees the scores of its own heads


def _of_heads(score: Score, part: int, count: int) -> Score:
    mask, rest = split(score)
    terms: list[Score] = [_HeadsOf(term, part, count) for term in rest]
    if mask is not None:
        terms.append(_HeadsOfMask(mask, part, count))
    return sum(terms[1:], terms[0])


def _some(x: Tensor, part: int, count: int) -> Tensor:
    return x if x.shape[1] == 1 else x[:, part * count : (part + 1) * count]


@dataclass(frozen=True, eq=False)
class _HeadsOf(Score):
    of: Score
    part: int
    count: int

    def value(self, q, k):
        return _some(self.of.value(q, k), self.part, self.count)


@dataclass(frozen=True, eq=False)
class _HeadsOfMask(Mask):
    of: Mask
    part: int
    count: int

    def keep(self, q, k):
        return _some(self.of.keep(q, k), self.part, self.count)

    def blocks(self, q, k, size):
        return _some(self.of.blocks(q, k, size), self.part, self.count)
