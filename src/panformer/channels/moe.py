"""A mixture of experts: every token is answered by its few best networks out of many."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Channel
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.activations import ACTIVATIONS, Activation
from ..ops.route import Routes, dispatch, route


class Moe(Channel):
    """sum over the `top` experts e of p_e(x) down_e(act(up_e(x))), p = softmax(router x) in float32 or wider.

    `capacity` c lets an expert take ceil(c * top * tokens / experts) tokens, counted over the `batch` or over each
    `sequence`; those that come after get 0, so the residual stream passes them on. Null drops nothing. With a
    capacity the answer for one token depends on others: `couples` says on which, and a stream of chunks does not
    equal the whole. `gate: share` divides the chosen p by their sum.

    Charged to `shared`: "balance", the coefficient times experts * sum_i f_i P_i, f the share of assignments and
    P the mean probability (its coefficient when both are uniform), and "router_z", its coefficient times the mean
    of logsumexp(logits)^2, per batch or averaged over sequences as the capacity. Padding takes no part in any of it.
    Counted in `shared.stats`, layer after layer: "expert_load", assignments per expert before the capacity, and
    "expert_dropped". Shazeer et al. 2017; Fedus et al. 2021 (top 1); Zoph et al. 2022 (router z).
    """

    paper = "Fedus et al. 2021, Switch Transformers: scaling to trillion parameter models"
    undecayed = ("up_bias", "down_bias")
    couples: Literal["batch", "sequence"] | None = None  # what else one token's answer depends on
    examples = (
        {"experts": 4, "hidden": 6},
        {"experts": 3, "top": 2, "hidden": 6, "gate": "share", "bias": True, "router_z": 0.1},
        {"experts": 3, "hidden": 6, "capacity": 1.0, "per": "sequence"},
    )

    class Config(Base):
        experts: int = Field(8, gt=0)
        top: int = Field(1, gt=0)
        ratio: float = Field(4.0, gt=0)
        hidden: int | None = Field(None, gt=0, description="units of one expert; default: ratio x width")
        activation: Activation = "gelu"
        bias: bool = False
        gate: Literal["probability", "share"] = "probability"
        capacity: float | None = Field(None, gt=0, description="room relative to an even load; null: no limit")
        per: Literal["batch", "sequence"] = "batch"
        balance: float = Field(0.01, ge=0)
        router_z: float = Field(0.0, ge=0)
        jitter: float = Field(0.0, ge=0, lt=1, description="router input times 1 +- jitter in training")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        if c.top > c.experts:
            raise InputError(f"moe: top {c.top} is more than {c.experts} experts")
        hidden = c.hidden or max(1, round(c.ratio * width))
        self.config, self.act = c, ACTIVATIONS[c.activation]
        self.couples = None if c.capacity is None else c.per
        self.router = nn.Parameter(torch.empty(c.experts, width))
        self.up = nn.Parameter(torch.empty(c.experts, hidden, width))
        self.down = nn.Parameter(torch.empty(c.experts, width, hidden))
        self.up_bias = nn.Parameter(torch.zeros(c.experts, hidden)) if c.bias else None
        self.down_bias = nn.Parameter(torch.zeros(c.experts, width)) if c.bias else None
        for weight in (self.router, self.up, self.down):
            nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        where = None if at.full else at.valid.flatten().nonzero()[:, 0]
        tokens = x.flatten(0, 1) if where is None else x.flatten(0, 1)[where]
        group = at.ordinal.flatten() if where is None else at.ordinal.flatten()[where]
        sizes = at.lengths
        if self.config.per == "batch":
            group, sizes = torch.zeros_like(group), sizes.sum(0, keepdim=True)
        logits = self._logits(tokens)
        probability = logits.softmax(-1)
        routes = route(probability, self.config.top, self._room(sizes), group)
        if shared is not None:
            self._charge(shared, logits, probability, routes, group, sizes)
        out = dispatch(tokens, self._gated(routes), self._expert, self.config.experts)
        return (out if where is None else torch.zeros_like(x.flatten(0, 1)).index_copy(0, where, out)).view_as(x)

    def _logits(self, tokens: Tensor) -> Tensor:
        wide = torch.promote_types(tokens.dtype, torch.float32)
        with torch.autocast(tokens.device.type, enabled=False):
            tokens = tokens.to(wide)
            if self.training and self.config.jitter:
                tokens = tokens * torch.empty_like(tokens).uniform_(1 - self.config.jitter, 1 + self.config.jitter)
            return F.linear(tokens, self.router.to(wide))

    def _room(self, sizes: Tensor) -> Tensor | None:
        c = self.config
        if c.capacity is None:
            return None
        even = sizes.double() * c.capacity * c.top / c.experts
        return (even - 1e-9).ceil().long().clamp(min=1)  # rounding must not turn an exact 3 into 4

    def _gated(self, routes: Routes) -> Routes:
        if self.config.gate == "probability":
            return routes
        chosen = routes.weight.view(-1, self.config.top)
        return routes._replace(weight=(chosen / chosen.sum(-1, keepdim=True)).flatten())

    def _expert(self, i: int, x: Tensor) -> Tensor:
        up = F.linear(x, self.up[i], None if self.up_bias is None else self.up_bias[i])
        return F.linear(self.act(up), self.down[i], None if self.down_bias is None else self.down_bias[i])

    def _charge(
        self, shared: Shared, logits: Tensor, probability: Tensor, routes: Routes, group: Tensor, sizes: Tensor
    ) -> None:
        c, groups = self.config, len(sizes)
        key = group[routes.token] * c.experts + routes.expert
        load = torch.bincount(key, minlength=groups * c.experts).view(groups, c.experts)
        _count(shared, "expert_load", load.sum(0))
        _count(shared, "expert_dropped", torch.bincount(routes.expert[~routes.kept], minlength=c.experts))
        if c.balance:
            mean = probability.new_zeros(groups, c.experts).index_add(0, group, probability) / sizes[:, None]
            share = load / (sizes[:, None] * c.top)
            shared.charge("balance", c.balance * c.experts * (share * mean).sum(-1).mean())
        if c.router_z:
            square = logits.logsumexp(-1).square()
            mean = square.new_zeros(groups).index_add(0, group, square) / sizes
            shared.charge("router_z", c.router_z * mean.mean())


def _count(shared: Shared, name: str, number: Tensor) -> None:
    before = shared.stats.get(name)
    shared.stats[name] = number if before is None else torch.cat([before, number])
