"""Attention of few heads, each with many maps of values and of outputs, of which a token uses its best."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Mixer, head_width, linear
from ..core.grow import grown
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.score import Causal, Same
from ..core.shared import Shared
from ..ops.attend import attend, split_heads
from ..ops.route import Routes, dispatch, logits, route
from ._past import joined, nothing, remembered


class SwitchHead(Mixer):
    """sum_h sum_e s_O(x_i)_he O_he (A_h v_h)_i, with v_hj = sum_e s_V(x_j)_he V_he x_j and s = sigmoid(router x).

    Both sums over e run over the `top` experts of a head with the largest s; A_h is softmax attention, whose queries
    and keys have one map per head, so that few matrices A are made for many maps. Experts do not compete: no s depends
    on another, and no loss evens their load. In training `expert_dropout` hides each expert of a token from the choice
    with this chance. Csordas et al. 2024.
    """

    paper = "Csordas et al. 2024, SwitchHead: accelerating Transformers with mixture-of-experts attention"
    positions = frozenset({"rotate"})
    growth = "n^2"
    examples = (
        {"heads": 2, "experts": 3},
        {"heads": 2, "experts": 4, "top": 1, "causal": True, "position": "rope"},
        {"heads": 3, "head_width": 5, "experts": 2, "causal": True},
        {"heads": 2, "experts": 3, "top": 1, "expert_dropout": 0.4},
    )

    class Config(Base):
        heads: int = Field(2, gt=0)
        experts: int = Field(4, gt=0, description="maps of values, and of outputs, of one head")
        top: int = Field(2, gt=0)
        head_width: int | None = Field(None, gt=0, description="default: width / heads")
        causal: bool | None = None
        expert_dropout: float = Field(0.0, ge=0, lt=1)
        position: Annotated[Base | None, Slot("positions")] = None

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        if c.top > c.experts:
            raise InputError(f"switch_head: top {c.top} is more than {c.experts} experts")
        self.size = size = c.head_width or head_width(self, width, c.heads)
        self.heads, self.experts, self.top = c.heads, c.experts, c.top
        self.expert_dropout, self.causal = c.expert_dropout, bool(c.causal)
        self.mask = Same() & Causal() if self.causal else Same()
        self.q, self.k = linear(width, c.heads * size, False), linear(width, c.heads * size, False)
        many = c.heads * c.experts  # a head's experts stand in a row
        self.v = nn.Parameter(torch.randn(many, size, width) * width**-0.5)
        self.o = nn.Parameter(torch.randn(many, width, size) * (c.heads * size) ** -0.5)
        self.v_router = nn.Parameter(torch.randn(many, width) * width**-0.5)
        self.o_router = nn.Parameter(torch.randn(many, width) * width**-0.5)
        self.position = c.position.build(c.heads, size) if c.position else None

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        return self._mix(x, at, *self._keys(x, at), at)

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, ...]:
        empty = like.new_zeros(batch, self.heads, 0, self.size)
        return empty, empty, *nothing(batch, like)

    def chunk(self, x, at, state, shared=None):
        x = at.clean(x)
        k, v, *past = state
        new = self._keys(x, at)
        k, v, there = grown(k, new[0], 2), grown(v, new[1], 2), joined(tuple(past), at)
        return self._mix(x, at, k, v, there), (k, v, *remembered(there))

    def _keys(self, x: Tensor, at: Layout) -> tuple[Tensor, Tensor]:
        """Keys and values of the tokens, (B, H, T, E) each."""
        rows = x.flatten(0, 1).repeat_interleave(self.heads, 0)
        v = dispatch(rows, self._routes(x, self.v_router), self._value, len(self.v))
        return self._turn(self.k(x), at), split_heads(v.reshape(*x.shape[:2], -1), self.heads)

    def _mix(self, x: Tensor, at: Layout, k: Tensor, v: Tensor, there: Layout) -> Tensor:
        met = attend(self._turn(self.q(x), at), k, v, self.mask, at, there, self.size**-0.5)
        rows = met.transpose(1, 2).reshape(-1, self.size)
        out = dispatch(rows, self._routes(x, self.o_router), self._output, len(self.o))
        return out.view(*x.shape[:2], self.heads, -1).sum(2)

    def _routes(self, x: Tensor, router: Tensor) -> Routes:
        """For rows of tokens and their heads, head by head within a token: which of all heads' experts answer."""
        share = logits(x.flatten(0, 1), router).sigmoid().view(-1, self.experts)  # (B T H, experts)
        open_to = share
        if self.training and self.expert_dropout:
            open_to = share - 2 * (torch.rand_like(share) < self.expert_dropout).to(share.dtype)
        routes = route(open_to, self.top)
        first = routes.token % self.heads * self.experts
        return routes._replace(expert=first + routes.expert, weight=share[routes.token, routes.expert])

    def _value(self, i: int, x: Tensor) -> Tensor:
        return F.linear(x, self.v[i])

    def _output(self, i: int, y: Tensor) -> Tensor:
        return F.linear(y, self.o[i])

    def _turn(self, x: Tensor, at: Layout) -> Tensor:
        x = split_heads(x, self.heads)
        return x if self.position is None else self.position.rotate(x, at)
