"""A mixture of experts: every token is answered by its few best networks out of many."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.activations import Activation
from ..ops.route import dispatch, route
from ._experts import Experts, real, shares


class Moe(Experts):
    """sum over the `top` experts e of p_e(x) down_e(act(up_e(x))), p = softmax(router x) in float32 or wider.

    `gated` experts answer down_e(act(gate_e(x)) * up_e(x)).

    `capacity` c lets an expert take ceil(c * top * tokens / experts) tokens, counted over the `batch` or over each
    `sequence`; those that come after get 0, so the residual stream passes them on. Null drops nothing. `room` says how
    many without looking at the load. With a
    capacity the answer for one token depends on others: `couples` says on which, and a stream of chunks does not
    equal the whole. `gate: share` divides the chosen p by their sum.

    Charged to `shared`: "balance", the coefficient times experts * sum_i f_i P_i, f the share of assignments and
    P the mean probability (its coefficient when both are uniform), and "router_z", its coefficient times the mean
    of logsumexp(logits)^2, per batch or averaged over sequences as the capacity. Padding takes no part in any of it.
    Counted in `shared.stats`, layer after layer: "expert_load", assignments per expert before the capacity, and
    "expert_dropped". Shazeer et al. 2017; Fedus et al. 2021 (top 1); Zoph et al. 2022 (router z).
    """

    paper = "Fedus et al. 2021, Switch Transformers: scaling to trillion parameter models"
    couples: Literal["batch", "sequence"] | None = None  # what else one token's answer depends on
    examples = (
        {"experts": 4, "hidden": 6},
        {"experts": 3, "top": 2, "hidden": 6, "gate": "share", "bias": True, "router_z": 0.1},
        {"experts": 3, "hidden": 6, "capacity": 1.0, "per": "sequence"},
        {"experts": 3, "hidden": 6, "room": 3, "per": "sequence"},
        {"experts": 3, "top": 2, "hidden": 6, "gated": True, "activation": "silu", "gate": "share"},
    )

    class Config(Base):
        experts: int = Field(8, gt=0)
        top: int = Field(1, gt=0)
        ratio: float = Field(4.0, gt=0)
        hidden: int | None = Field(None, gt=0, description="units of one expert; default: ratio x width")
        activation: Activation = "gelu"
        gated: bool = False
        bias: bool = False
        gate: Literal["probability", "share"] = "probability"
        capacity: float | None = Field(None, gt=0, description="room relative to an even load; null: no limit")
        room: int | None = Field(None, gt=0, description="the same as a number of tokens, whatever the load")
        per: Literal["batch", "sequence"] = "batch"
        balance: float = Field(0.01, ge=0)
        router_z: float = Field(0.0, ge=0)
        jitter: float = Field(0.0, ge=0, lt=1, description="router input times 1 +- jitter in training")

    def __init__(self, c: Config, width: int) -> None:
        if c.top > c.experts:
            raise InputError(f"moe: top {c.top} is more than {c.experts} experts")
        if c.capacity is not None and c.room is not None:
            raise InputError("moe: capacity and room both bound the tokens of an expert; give one of the two")
        if c.gated and c.bias:
            raise InputError("moe: gated experts have no bias")
        super().__init__(c.experts, width, c.hidden or max(1, round(c.ratio * width)), c.activation, c.gated, c.bias)
        self.config = c
        self.couples = None if c.capacity is None and c.room is None else c.per

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        c, tokens, sizes = self.config, real(x, at), at.lengths
        group = tokens.sequence
        if c.per == "batch":
            group, sizes = torch.zeros_like(group), sizes.sum(0, keepdim=True)
        logits = self._logits(tokens.x)
        probability = logits.softmax(-1)
        routes = route(probability, c.top, self._room(sizes), group)
        if shared is not None:
            self._count(shared, c.balance, probability, routes, group, sizes)
            if c.router_z:
                square = logits.logsumexp(-1).square()
                mean = square.new_zeros(len(sizes)).index_add(0, group, square) / sizes
                shared.charge("router_z", c.router_z * mean.mean())
        if c.gate == "share":
            routes = routes._replace(weight=shares(routes.weight.view(-1, c.top)).flatten())
        return tokens.back(dispatch(tokens.x, routes, self._experts(), c.experts), x)

    def _logits(self, tokens: Tensor) -> Tensor:
        if self.training and self.config.jitter:
            wide = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
            tokens = wide * torch.empty_like(wide).uniform_(1 - self.config.jitter, 1 + self.config.jitter)
        return super()._logits(tokens)

    def _room(self, sizes: Tensor) -> Tensor | None:
        c = self.config
        if c.room is not None:
            return torch.full_like(sizes, c.room)
        if c.capacity is None:
            return None
        even = sizes.double() * c.capacity * c.top / c.experts
        return (even - 1e-9).ceil().long().clamp(min=1)  # rounding must not turn an exact 3 into 4
