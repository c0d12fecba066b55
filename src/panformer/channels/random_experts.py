"""Experts that nobody chooses: every token goes to one at random."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.activations import Activation
from ..ops.draws import choice
from ..ops.route import Routes, dispatch
from ._experts import Networks, counted, real


class RandomExperts(Networks):
    """down_e(act(up_e(x))), e uniform among the `experts`, in training and in use. (B, T, D) -> (B, T, D).

    In training e is drawn anew in every pass, `per` token or sequence, from torch's generator as dropout is. In
    evaluation it is a function of the token's position and of `salt`, a saved number per layer: batch forms, chunks
    and steps then meet the same experts. `redraw` takes another salt. There is no router, no weight and no loss; every
    token is answered. Counted in `shared.stats` as "expert_load". Zuo et al. 2022; the objective that goes with it is
    `consistency`.
    """

    paper = "Zuo et al. 2022, Taming sparsely activated transformer with stochastic experts"
    draws = True
    salt: Tensor  # () int64
    examples = (
        {"experts": 3, "hidden": 6},
        {"experts": 2, "ratio": 0.5, "bias": True, "activation": "relu", "per": "sequence"},
    )

    class Config(Base):
        experts: int = Field(2, gt=0)
        ratio: float = Field(4.0, gt=0)
        hidden: int | None = Field(None, gt=0, description="units of one expert; default: ratio x width")
        activation: Activation = "gelu"
        bias: bool = False
        per: Literal["token", "sequence"] = Field("token", description="what has an expert of its own in training")

    def __init__(self, c: Config, width: int) -> None:
        hidden = c.hidden or max(1, round(c.ratio * width))
        super().__init__(c.experts, width, hidden, c.activation, bias=c.bias)
        self.experts, self.per = c.experts, c.per
        self.register_buffer("salt", torch.randint(2**31, ()))

    def redraw(self, rng: torch.Generator) -> None:
        """Other experts for every position from now on."""
        self.salt.copy_(torch.randint(2**31, (), generator=rng))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        tokens = real(x, at)
        token = torch.arange(len(tokens.x), device=x.device)
        if self.training:
            who, count = (tokens.sequence, at.sequences) if self.per == "sequence" else (token, len(token))
            expert = torch.randint(self.experts, (count,), device=x.device)[who]
        else:
            pos = at.pos.expand(*x.shape[:2], -1).flatten(0, 1)
            expert = choice(pos if tokens.where is None else pos[tokens.where], self.salt, self.experts)
        routes = Routes(token, expert, torch.ones_like(tokens.x[:, 0]), torch.ones_like(token, dtype=torch.bool))
        if shared is not None:
            counted(shared, "expert_load", torch.bincount(expert, minlength=self.experts))
        return tokens.back(dispatch(tokens.x, routes, self._experts(), self.experts), x)
