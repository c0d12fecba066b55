"""Experts of which some answer always and the others are chosen by groups."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.activations import Activation
from ..ops.route import Routes, dispatch
from ._experts import Experts, real, shares


class SharedMoe(Experts):
    """common(x) + scale * sum over the chosen experts e of g_e expert_e(x), all of them gated linear units.

    s = sigmoid(router x) in float32 or wider. Experts stand in `groups` of equal size: the `top_groups` groups whose
    two best s + correction have the largest sum are open to a token, and in them it goes to the `top` experts with the
    largest s + correction. g is s there, divided by its sum for `gate: share`. `common` has the units of `shared`
    experts. `correction` is no parameter but a saved number per expert, 0 at the start, which evens the load without
    a gradient; it is read from checkpoints and stays as it is.

    Charged and counted as in `moe`, over each sequence and with s divided by its sum as the probability. Dai et al.
    2024, DeepSeekMoE; DeepSeek-AI 2024, DeepSeek-V3 (sigmoid, groups, correction).
    """

    paper = "DeepSeek-AI 2024, DeepSeek-V3 technical report"
    correction: Tensor  # (experts,)
    examples = (
        {"experts": 4, "hidden": 6},
        {"experts": 6, "top": 2, "hidden": 5, "shared": 2, "groups": 3, "top_groups": 2, "scale": 2.5},
        {"experts": 3, "top": 2, "hidden": 6, "gate": "probability", "balance": 0.1, "activation": "gelu"},
    )

    class Config(Base):
        experts: int = Field(8, gt=0)
        top: int = Field(2, gt=0)
        hidden: int | None = Field(None, gt=0, description="units of one expert; default: width")
        shared: int = Field(1, gt=0, description="experts' worth of units that answer for every token")
        groups: int = Field(1, gt=0)
        top_groups: int = Field(1, gt=0, description="groups that are open to a token")
        gate: Literal["probability", "share"] = "share"
        scale: float = Field(1.0, gt=0, description="of what the chosen experts answer together")
        activation: Activation = "silu"
        balance: float = Field(0.0001, ge=0)

    def __init__(self, c: Config, width: int) -> None:
        open_experts = c.experts // c.groups * c.top_groups
        if c.experts % c.groups or c.top_groups > c.groups:
            raise InputError(f"shared_moe: {c.experts} experts in {c.groups} groups, of which {c.top_groups} are open")
        if c.top > open_experts:
            raise InputError(f"shared_moe: top {c.top} is more than the {open_experts} experts of the open groups")
        hidden = c.hidden or width
        super().__init__(c.experts, width, hidden, c.activation, gated=True)
        self.config = c
        self.register_buffer("correction", torch.zeros(c.experts))
        self.common_gate = linear(width, c.shared * hidden, False)
        self.common_up = linear(width, c.shared * hidden, False)
        self.common_down = linear(c.shared * hidden, width, False)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        c, tokens = self.config, real(x, at)
        score = self._logits(tokens.x).sigmoid()
        routes = self._routes(score)
        if shared is not None:
            self._count(shared, c.balance, shares(score), routes, tokens.sequence, at.lengths)
        common = self.common_down(self.act(self.common_gate(tokens.x)) * self.common_up(tokens.x))
        return tokens.back(common + dispatch(tokens.x, routes, self._experts(), c.experts), x)

    def _routes(self, score: Tensor) -> Routes:
        c = self.config
        wanted = (score + self.correction.to(score.dtype)).detach()
        if c.top_groups < c.groups:
            group = wanted.unflatten(-1, (c.groups, -1))
            best = group.topk(min(2, group.shape[-1]), -1).values.sum(-1).topk(c.top_groups, -1).indices
            closed = torch.ones_like(group[..., 0], dtype=torch.bool).scatter(-1, best, False)
            wanted = group.masked_fill(closed[..., None], -torch.inf).flatten(-2)
        expert = wanted.topk(c.top, -1).indices
        weight = score.gather(-1, expert)
        weight = c.scale * (shares(weight) if c.gate == "share" else weight)
        token = torch.arange(len(score), device=score.device).repeat_interleave(c.top)
        return Routes(token, expert.flatten(), weight.flatten(), torch.ones_like(token, dtype=torch.bool))
