"""Many networks of one shape and a router: what parts with experts share."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import Channel
from ..core.layout import Layout
from ..core.shared import Shared
from ..ops.activations import ACTIVATIONS, Activation
from ..ops.route import Expert, Routes, logits


class Tokens(NamedTuple):
    """The real tokens of a batch, without its padding."""

    x: Tensor  # (M, D)
    sequence: Tensor  # (M,) int64
    where: Tensor | None  # (M,) their places in the batch; None: there is no padding

    def back(self, y: Tensor, like: Tensor) -> Tensor:
        """Answers (M, D) in the form of the batch, 0 at padding."""
        if self.where is None:
            return y.view_as(like)
        return torch.zeros_like(like.flatten(0, 1)).index_copy(0, self.where, y).view_as(like)


def real(x: Tensor, at: Layout) -> Tokens:
    where = None if at.full else at.valid.flatten().nonzero()[:, 0]
    flat, sequence = x.flatten(0, 1), at.ordinal.flatten()
    return Tokens(flat, sequence, None) if where is None else Tokens(flat[where], sequence[where], where)


class Networks(Channel):
    """down_e(act(up_e x)), or down_e(act(gate_e x) * up_e x), for experts e. A `router` is registered before them."""

    undecayed = ("up_bias", "down_bias")

    def __init__(
        self,
        experts: int,
        width: int,
        hidden: int,
        activation: Activation,
        gated: bool = False,
        bias: bool = False,
        router: nn.Parameter | None = None,
    ) -> None:
        super().__init__()
        self.act = ACTIVATIONS[activation]
        if router is not None:
            self.register_parameter("router", router)
        self.up = nn.Parameter(torch.empty(experts, hidden, width))
        self.down = nn.Parameter(torch.empty(experts, width, hidden))
        self.gate = nn.Parameter(torch.empty(experts, hidden, width)) if gated else None
        self.up_bias = nn.Parameter(torch.zeros(experts, hidden)) if bias else None
        self.down_bias = nn.Parameter(torch.zeros(experts, width)) if bias else None
        for weight in (self.up, self.down, *([] if self.gate is None else [self.gate])):
            nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)

    def _experts(self) -> Expert:
        """Each expert by its number. One slice of a tensor has a gradient as large as that tensor; all at once share it."""
        weights: list[Any] = [self.up, self.down, self.gate, self.up_bias, self.down_bias]
        pieces: list[Any] = [[None] * len(self.up) if w is None else w.unbind(0) for w in weights]
        up, down, gate, up_bias, down_bias = pieces

        def expert(i: int, x: Tensor) -> Tensor:
            hidden = F.linear(x, up[i], up_bias[i])
            hidden = self.act(hidden) if self.gate is None else self.act(F.linear(x, gate[i])) * hidden
            return F.linear(hidden, down[i], down_bias[i])

        return expert


class Experts(Networks):
    """Networks that a router chooses for every token."""

    router: nn.Parameter  # (experts, width)

    def __init__(
        self, experts: int, width: int, hidden: int, activation: Activation, gated: bool = False, bias: bool = False
    ) -> None:
        router = nn.Parameter(torch.empty(experts, width))
        nn.init.normal_(router, std=width**-0.5)
        super().__init__(experts, width, hidden, activation, gated, bias, router)

    def _logits(self, tokens: Tensor) -> Tensor:
        return logits(tokens, self.router)

    def _count(
        self, shared: Shared, balance: float, probability: Tensor, routes: Routes, group: Tensor, sizes: Tensor
    ) -> None:
        """Count who was chosen, and charge `balance` * experts * sum_i f_i P_i, averaged over the groups of tokens.

        f is the share of assignments and P the mean probability of an expert. probability (M, N) sums to 1 for every
        token; group (M,) says which of the groups of `sizes` (G,) a token is in.
        """
        experts, groups, top = probability.shape[1], len(sizes), len(routes.token) // len(probability)
        key = group[routes.token] * experts + routes.expert
        load = torch.bincount(key, minlength=groups * experts).view(groups, experts)
        counted(shared, "expert_load", load.sum(0))
        counted(shared, "expert_dropped", torch.bincount(routes.expert[~routes.kept], minlength=experts))
        if balance:
            mean = probability.new_zeros(groups, experts).index_add(0, group, probability) / sizes[:, None]
            share = load / (sizes[:, None] * top)
            shared.charge("balance", balance * experts * (share * mean).sum(-1).mean())


def shares(weight: Tensor) -> Tensor:
    """The weights of a token's experts, divided by their sum. (M, top)."""
    return weight / weight.sum(-1, keepdim=True)


def counted(shared: Shared, name: str, number: Tensor) -> None:
    before = shared.stats.get(name)
    shared.stats[name] = number if before is None else torch.cat([before, number])
