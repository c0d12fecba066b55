"""Softmax attention from regions of queries to chosen regions of keys, merged with what else they see; and the choice.

q, k (N, H, R, S, E) and v (N, H, R, S, V) are regions, real (N, H|1, R, S) says where there is a token. Region
asks[n, h, p] of the queries sees region looks[n, h, p] of the keys, for each p; -1 in both is no pair, and no pair
may stand twice. `rest` (N, H, R, S) is a further piece of each query's softmax, such as one of coarse scores.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .backend import Operator
from .check import Draw
from .kernels.block_attention_pairs import PAIRS, run
from .kernels.block_attention_strips import STRIPS
from .online_softmax import OnlineSoftmax, finish, merge, part


def reference(
    q: Tensor, k: Tensor, v: Tensor, real: Tensor, asks: Tensor, looks: Tensor, rest: OnlineSoftmax | None
) -> Tensor:
    """(N, H, R, S, V) by the whole matrix of scores q k' / sqrt(E); a query that sees nothing gives 0."""
    n, h, r, s, _ = q.shape
    sees = torch.zeros(n, h, r * r + 1, dtype=torch.bool, device=q.device)
    sees = sees.scatter(2, torch.where(asks < 0, r * r, asks * r + looks), True)[..., :-1]
    sees = sees.view(n, h, r, 1, r, 1).expand(-1, -1, -1, s, -1, s).flatten(4, 5).flatten(2, 3)
    score = q.flatten(2, 3) @ k.flatten(2, 3).mT * q.shape[-1] ** -0.5
    seen = part(score.masked_fill(~(sees & real.flatten(2)[:, :, None]), -torch.inf), v.flatten(2, 3))
    if rest is not None:
        seen = merge(seen, OnlineSoftmax(*(z.flatten(2, 3) for z in rest)))
    return finish(seen).unflatten(2, (r, s))


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw = Draw(device, dtype)
    q, k, v, more = (draw(2, 2, 3, 4, e) for e in (3, 3, 5, 5))
    asks, looks = torch.tensor([[0, 0, -1, 1], [1, 0, -1, 2]], device=device)
    real = torch.arange(12, device=device).view(3, 4) < torch.tensor([12, 7], device=device).view(2, 1, 1, 1)
    rest = OnlineSoftmax(draw(2, 2, 3, 4), draw(2, 2, 3, 4).exp(), more)
    return q, k, v, real, asks.expand(2, 2, -1), looks.expand(2, 2, -1), rest


block_attention = Operator("block_attention", reference, STRIPS, PAIRS, traced=run, sample=sample)


def top_of_each(score: Tensor, count: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The pairs of every row with its `limit` best columns. score (N, H, R, R), count (N,) of regions that there are.

    Returns (asks, looks), each (N, H, R * min(limit, R)).
    """
    r = score.shape[2]
    score = score.detach().masked_fill(~_exists(count, r)[:, None, None], -torch.inf)
    best, looks = _best(score, min(limit, r))
    rows = torch.arange(r, device=score.device)[:, None].expand_as(looks)
    real = (best > -torch.inf) & _exists(count, r)[:, None, :, None]
    return tuple(z.masked_fill(~real, -1).flatten(2) for z in (rows, looks))  # type: ignore[return-value]


def top_of_all(score: Tensor, count: Tensor, each: int) -> tuple[Tensor, Tensor]:
    """The `each` * count best pairs of the whole matrix, or all. As `top_of_each`; each (N, H, R * min(each, R))."""
    r = score.shape[2]
    exists = _exists(count, r)
    score = score.detach().masked_fill(~(exists[:, None, :, None] & exists[:, None, None]), -torch.inf)
    best, pair = _best(score.flatten(2), r * min(each, r))
    rank = torch.arange(pair.shape[2], device=score.device)
    real = (best > -torch.inf) & (rank < each * count[:, None, None])
    return (pair // r).masked_fill(~real, -1), (pair % r).masked_fill(~real, -1)


def _best(score: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """As `topk`, but of equal scores the first: which one is met must not hang on the device."""
    score, place = score.sort(dim=-1, descending=True, stable=True)
    return score[..., :count], place[..., :count]


def chosen(asks: Tensor, looks: Tensor, regions: int) -> Tensor:
    """(N, H, R, R) bool: which pairs are in the lists."""
    flat = torch.where(asks < 0, regions * regions, asks * regions + looks)
    grid = torch.zeros(*asks.shape[:2], regions * regions + 1, dtype=torch.bool, device=asks.device)
    return grid.scatter(2, flat, True)[..., :-1].unflatten(2, (regions, regions))


def _exists(count: Tensor, regions: int) -> Tensor:
    """(N, R) bool."""
    return torch.arange(regions, device=count.device) < count[:, None]
