"""group_attention with tokens sorted by group: what is near within a group is near in that order, so blocks of it and
their neighbours hold all pairs, in time and memory linear in length.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from ..backend import Kernel
from ..hashing import rearrange
from ..online_softmax import OnlineSoftmax, finish, finite, merge, part

LEAST = 4  # windows: a shorter sequence has few pairs more than its blocks
FEW = 8  # queries that are sooner compared with all keys than sorted
NOBODY = 1 << 30  # a group for places of no token, after all others


def refuses(q: Tensor, k: Tensor, v: Tensor, group: Tensor, window: int, causal: bool, scale: float) -> str | None:
    if q.shape[2] <= FEW and LEAST:
        return f"{q.shape[2]} queries: comparing them with all keys is quicker"
    length = k.shape[2]
    return f"length {length} is under {LEAST} windows of {window}" if length < LEAST * window else None


def run(q: Tensor, k: Tensor, v: Tensor, group: Tensor, window: int, causal: bool, scale: float) -> Tensor:
    length, kind = k.shape[2], v.dtype
    wide = torch.promote_types(kind, torch.float32)
    none, many = group < 0, q.shape[2]
    group = torch.where(none, NOBODY, group)
    order = group.argsort(dim=-1, stable=True)  # (N, H, R, L) places
    place = torch.arange(length, device=q.device).expand_as(order)
    spot = torch.empty_like(order).scatter_(-1, order, place)  # where a place went
    q = F.pad(q * scale, (0, 0, length - many, 0))
    sides = (1, 0 if causal else 1)
    once = group.shape[2] == 1
    blocks = ((q, (0, 0)), (k, sides), (v, sides))
    asks, keys, values = (_cut(_sorted(x, order), window, *side) for x, side in blocks)  # (N, H, R, blocks, S or M, E)
    if once:
        near = _beside(group.gather(-1, order), window, sides)
    else:
        rank = torch.where(none, window * spot, spot) + window * group  # less than `window` apart: near in one group
        near = _near(order, rank, window, sides)
    score = (asks @ keys.mT).to(wide)
    if not once:
        score = score - near.clamp(min=1).to(wide).log()
    piece = _part(score.masked_fill_(near.logical_not(), -torch.inf), values)
    rounds = [_back(piece, spot, r) for r in range(group.shape[2])]
    seen = reduce(merge, rounds)
    alone = (seen.sum == 0) & ~none.all(2)
    out = torch.where(alone[..., None], v, finish(seen).to(kind))
    return out[:, :, length - many :]


def _part(score: Tensor, v: Tensor) -> OnlineSoftmax:
    """`part` with weights as narrow as the values: these products are most of what is left."""
    if v.dtype == score.dtype:
        return part(score, v)
    top = score.amax(-1)
    weight = (score - finite(top)[..., None]).exp()
    return OnlineSoftmax(top, weight.sum(-1), (weight.to(v.dtype) @ v).to(score.dtype))


def _beside(group: Tensor, window: int, sides: tuple[int, int]) -> Tensor:
    """(N, H, 1, blocks, S, M) bool: whether a key is near the query, of one round in its order: in one group and in a band."""
    asks, keys = (_cut(group.int()[..., None], window, *side, fill=-1) for side in ((0, 0), sides))
    s, m = (torch.arange(x.shape[4], device=group.device) for x in (asks, keys))
    apart = s[:, None] + sides[0] * window - m
    band = (apart < window) & ((apart > 0) if sides[1] == 0 else (apart != 0) & (apart > -window))
    return (asks == keys.mT) & band & (asks < NOBODY)


def _near(order: Tensor, rank: Tensor, window: int, sides: tuple[int, int]) -> Tensor:
    """(N, H, R, blocks, S, M) uint8: in how many rounds a key is near the query, 0 where it is not in this one."""

    def pairs(x: Tensor, fill: int = 0) -> tuple[Tensor, Tensor]:
        """x (N, H, R, L) in this order at queries (..., S, 1) and at keys (..., 1, M)."""
        asks, keys = (_cut(x[..., None], window, *side, fill=fill) for side in ((0, 0), sides))
        return asks, keys.mT

    def close(at: Tensor) -> Tensor:
        a, b = pairs(at)
        return (a - b).abs() < window

    i, j = pairs(order, fill=-1)
    here = close(rank.gather(-1, order)) & (j >= 0) & ((j < i) if sides[1] == 0 else (j != i))
    times = torch.zeros_like(here, dtype=torch.uint8)
    for other in rank.unbind(2):
        times += close(other[:, :, None].expand_as(order).gather(-1, order))
    return times * here


def _sorted(x: Tensor, order: Tensor) -> Tensor:
    """x (N, H, L, E) in the order of every round: (N, H, R, L, E)."""
    return rearrange(x, order.flatten(2)).unflatten(2, order.shape[2:])


def _cut(x: Tensor, size: int, before: int, after: int, fill: int = 0) -> Tensor:
    """(N, H, R, L, E) -> (N, H, R, blocks, size * (1 + before + after), E): each block with its neighbours."""
    x = F.pad(x, (0, 0, before * size, after * size + -x.shape[3] % size), value=fill)
    return x.unfold(3, size * (1 + before + after), size).mT


def _back(piece: OnlineSoftmax, spot: Tensor, r: int) -> OnlineSoftmax:
    """What round r found, its blocks (N, H, R, blocks, S) laid back to the places (N, H, L)."""
    top, total, out = (x[:, :, r].flatten(2, 3) for x in piece)
    where = spot[:, :, r]
    return OnlineSoftmax(top.gather(-1, where), total.gather(-1, where), rearrange(out, where))


SORTED = Kernel("sorted", refuses, run)
