"""Softmax attention of every token to the others of its group that stand near it there, over several ways of grouping.

A group is a set of tokens of like content, such as a cluster or a bucket of a hash, not a run of places: what is near
within it may be far in the sequence. Kitaev et al. 2020, Reformer (rounds of hashing; a key counts once however many
rounds show it, a token itself only where there is no other); Roy et al. 2021 (clusters).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .backend import Operator
from .check import Draw
from .kernels.group_attention_sorted import SORTED
from .online_softmax import finish, part


def reference(q: Tensor, k: Tensor, v: Tensor, group: Tensor, window: int, causal: bool, scale: float) -> Tensor:
    """q (N, H, T, E) of the last T of L places, k (N, H, L, E), v (N, H, L, V), group (N, H, R, L) -> (N, H, T, V).

    In round r query i sees the keys j of its group, group[r, i] = group[r, j] >= 0, whose rank among its members differs
    from the query's own by less than `window`; with `causal` j <= i. What any round shows counts once; the token itself where nothing else is seen. Places of group -1
    are seen by nobody, see nothing and answer 0.
    """
    length = k.shape[2]
    i = torch.arange(length - q.shape[2], length, device=q.device)[:, None]
    j = torch.arange(length, device=q.device)
    mine = group[..., length - q.shape[2] :, None]
    same = (mine == group[..., None, :]) & (mine >= 0)  # (N, H, R, T, L)
    rank = same.cumsum(-1)
    seen = same & ((rank - rank.gather(-1, i.expand_as(mine))).abs() < window)
    seen = seen.any(2) & ((j <= i) if causal else (j == j))
    others = seen & (j != i)
    seen = others | (seen & ~others.any(-1, keepdim=True))
    return finish(part((q @ k.mT * scale).masked_fill(~seen, -torch.inf), v))


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw = Draw(device, dtype)
    groups = (draw(2, 2, 2, 37) * 1.5).long().abs() - draw.flags(0.1, 2, 2, 2, 37).long() * 9
    return draw(2, 2, 30, 3), draw(2, 2, 37, 3), draw(2, 2, 37, 4), groups.clamp(min=-1), 4, True, 0.6


group_attention = Operator("group_attention", reference, SORTED, sample=sample)
