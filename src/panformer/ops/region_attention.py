"""Attention to near tokens one by one and to all others through a summary of their region, so that every weight is > 0.

    p(j | i) = softmax over the own block's keys k_j and the other blocks' K_r of (q_i . key)    for j in i's block,
    p(j | i) = p(r | i) p(j | r),  p(j | r) = softmax over j in r of (Q_r . k_j)                  for j in a block r.

K_r and Q_r are the largest values of the block's keys and queries. Ren et al. 2021, Combiner (fixed pattern).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.sparse import bands
from .backend import Operator
from .check import Draw
from .kernels.region_attention_blocks import BLOCKS, summed


def reference(
    q: Tensor, k: Tensor, v: Tensor, p: Tensor, valid: Tensor, block: int | None, causal: bool, scale: float
) -> Tensor:
    """q (N, H, T, E) of the last T of L places; k, p (N, H, L, E), v (N, H, L, V), valid (N, L) -> (N, H, T, V).

    p holds the queries of all L places, which make the summaries. Blocks hold `block` places from place 0 on, or
    `sparse.side(i)` for the query at i. A query that may see nothing gives 0.
    """
    return matrix(q, k, p, valid, block, causal, scale) @ v


def matrix(q: Tensor, k: Tensor, p: Tensor, valid: Tensor, block: int | None, causal: bool, scale: float) -> Tensor:
    """p(j | i), (N, H, T, L)."""
    length = k.shape[2]
    first, out = length - q.shape[2], []
    for start, stop, size in bands(length, block):
        if stop <= first:
            continue
        i, j = torch.arange(max(start, first), stop, device=q.device)[:, None], torch.arange(length, device=q.device)
        here = q[:, :, i[0, 0] - first : stop - first]
        of = F.one_hot(j // size).T.bool() & valid[:, None]  # (N, R, L): which places a region has
        seen = of[:, None, :, :, None]
        keys, queries = (x[:, :, None].masked_fill(~seen, -torch.inf).amax(3) for x in (k, p))  # (N, H, R, E)
        some = of.any(-1)[:, None, :, None]
        keys, queries = torch.where(some, keys, 0), torch.where(some, queries, 0)
        inside = _softmax(queries @ k.mT * scale, of[:, None])  # (N, H, R, L): p(j | r)
        own, r = i // size, torch.arange(of.shape[1], device=q.device)
        near = valid[:, None, None] & (j // size == own) & ((j <= i) if causal else (j == j))
        far = some.mT & ((r < own) if causal else (r != own))
        both = torch.cat([here @ k.mT, here @ keys.mT], -1) * scale
        weight = _softmax(both, torch.cat([near, far.expand(-1, -1, len(i), -1)], -1))
        out.append(weight[..., :length] + weight[..., length:] @ inside)
    return torch.cat(out, 2)


def summaries(k: Tensor, v: Tensor, p: Tensor, size: int, scale: float) -> tuple[Tensor, Tensor]:
    """(K_r (N, H, R, E), sum_j p(j | r) v_j (N, H, R, V)) of whole blocks, all places taken: k, p (N, H, R size, E)."""
    k, v, p = (x.unflatten(2, (-1, size)) for x in (k, v, p))
    return summed(k, v, p, k.new_ones(1, 1, 1, 1, 1, dtype=torch.bool), scale)


def with_summaries(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, told: Tensor, scale: float) -> Tensor:
    """Causal: q (N, H, T, E) of the last T places so far of one block k (N, H, S, E), v (N, H, S, V), and what
    `summaries` answered of all blocks before it."""
    late = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).triu(k.shape[2] - q.shape[2] + 1)
    x = torch.cat([(q @ k.mT).masked_fill(late, -torch.inf), q @ keys.mT], -1) * scale
    return x.softmax(-1) @ torch.cat([v, told], 2)


def _softmax(x: Tensor, seen: Tensor) -> Tensor:
    """Over what is seen; 0 where nothing is."""
    x = x.masked_fill(~seen, -torch.inf)
    dead = ~seen.any(-1, keepdim=True)
    return x.masked_fill(dead, 0).softmax(-1).masked_fill(~seen, 0)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw = Draw(device, dtype)
    valid = torch.arange(37, device=device) < torch.tensor([[37], [21]], device=device)
    return draw(2, 2, 30, 3), draw(2, 2, 37, 3), draw(2, 2, 37, 4), draw(2, 2, 37, 3), valid, None, True, 0.6


region_attention = Operator("region_attention", reference, BLOCKS, sample=sample)
