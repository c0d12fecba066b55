"""Which expert answers for which token, and the experts' answers, without a loop over tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Routes(NamedTuple):
    """A = tokens * top assignments, token after token, a token's best expert first."""

    token: Tensor  # (A,) int64
    expert: Tensor  # (A,) int64
    weight: Tensor  # (A,) what the expert's answer is multiplied with
    kept: Tensor  # (A,) bool, False where the expert was already full


Expert = Callable[[int, Tensor], Tensor]  # (which, (M, D)) -> (M, D'), the same D' for all experts


def logits(tokens: Tensor, router: Tensor) -> Tensor:
    """(M, N) scores of the experts, in float32 or wider: which is best must not hang on rounding. router (N, D)."""
    wide = torch.promote_types(tokens.dtype, torch.float32)
    with torch.autocast(tokens.device.type, enabled=False):
        return F.linear(tokens.to(wide), router.to(wide))


def route(probability: Tensor, top: int, room: Tensor | None = None, group: Tensor | None = None) -> Routes:
    """Each token goes to its `top` most probable experts. probability (M, N).

    `room` (G,) is how many assignments one expert takes from each of G groups, `group` (M,) int64 says which
    group a token is in. Tokens are served in order, so that no later token pushes out an earlier one.
    Fedus et al. 2021, Switch Transformers.
    """
    experts = probability.shape[1]
    weight, expert = probability.topk(top, -1)
    token = torch.arange(len(probability), device=expert.device).repeat_interleave(top)
    expert = expert.flatten()
    kept = torch.ones_like(expert, dtype=torch.bool)
    if room is not None:
        line = torch.zeros_like(token) if group is None else group[token]
        kept = turn(line * experts + expert, len(room) * experts) < room[line]
    return Routes(token, expert, weight.flatten(), kept)


def turn(key: Tensor, keys: int) -> Tensor:
    """How many earlier entries have the same key: (A,) int64 in 0 .. keys-1 -> (A,) int64."""
    order = key.argsort(stable=True)
    count = torch.bincount(key, minlength=keys)
    before = (count.cumsum(0) - count)[key[order]]
    place = torch.arange(len(key), device=key.device) - before
    return torch.empty_like(place).index_copy(0, order, place)


def reference(x: Tensor, routes: Routes, expert: Expert, experts: int) -> Tensor:
    """sum over kept routes of weight * expert(x): every expert answers for every token. x (M, D) -> (M, D')."""
    gate = x.new_zeros(len(x), experts)
    gate = gate.index_put((routes.token, routes.expert), (routes.weight * routes.kept).to(x.dtype), accumulate=True)
    return sum((gate[:, i, None] * expert(i, x) for i in range(experts)), x.new_zeros(()))


def dispatch(x: Tensor, routes: Routes, expert: Expert, experts: int) -> Tensor:
    """`reference`, with each expert called once on just its own tokens."""
    mine = routes.kept.nonzero()[:, 0]
    mine = mine[routes.expert[mine].argsort(stable=True)]
    token = routes.token[mine]
    share = torch.bincount(routes.expert[mine], minlength=experts).tolist()
    answers = [expert(i, part) for i, part in enumerate(x[token].split(share))]
    weighted = (torch.cat(answers) * routes.weight[mine, None].to(x.dtype)).to(x.dtype)
    return weighted.new_zeros(len(x), weighted.shape[1]).index_add(0, token, weighted)
