"""Grouped-query attention whose query heads are dealt out to heads of keys by how long the keys are."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.score import Same
from ..core.shared import Shared
from ..ops.attend import attend, merge_heads, split_heads
from ..ops.deal import deal


class DealtAttention(Mixer):
    """o(softmax(q_h k_g' / sqrt(E)) v_g), g the group that query head h was dealt to. Khan et al. 2024.

    Heads are dealt in order, to each group in proportion to a share; equal shares give grouped-query attention. `deal`
    says what the share is: the norm of a group's keys in this very sequence (`now`, the paper's KDGQA), or, dealt anew
    at every `every`th forward pass of training and kept after it, how much their norm in the batch has changed since
    (`difference`) or its moving average, the newest counting for 0.9 (`average`): the paper's DGQA. With `noise` in
    training each head's answer less Gaussian noise of its own mean and deviation, of equal groups (`even`): PGQA.
    """

    paper = "Khan et al. 2024, Beyond uniform query distribution: key-driven grouped query attention"
    streams = False
    positions = frozenset({"rotate"})
    growth = "n^2"
    last: Tensor  # (G,) norms of keys at the last deal, or their average
    owner: Tensor  # (H,) int64, the group of each query head
    turn: Tensor  # (1,) int64, forward passes of training so far
    examples = (
        {"heads": 5, "head_width": 4, "kv_heads": 2},
        {"heads": 8, "kv_heads": 2, "deal": "difference", "every": 2, "bias": True},
        {"heads": 4, "kv_heads": 2, "deal": "average", "position": "rope"},
        {"heads": 4, "kv_heads": 2, "deal": "even", "noise": True},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        kv_heads: int = Field(2, gt=0)
        head_width: int | None = Field(None, gt=0, description="default: width / heads")
        deal: Literal["now", "difference", "average", "even"] = "now"
        every: int = Field(1, gt=0, description="forward passes of training between two deals")
        noise: bool = Field(False, description="in training, of the size of what a head found")
        bias: bool = False
        position: Annotated[Base | None, Slot("positions")] = None

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        if c.kv_heads > c.heads:
            raise InputError(f"dealt_attention: {c.kv_heads} kv_heads are more than {c.heads} heads")
        self.size = size = c.head_width or head_width(self, width, c.heads)
        self.heads, self.groups = c.heads, c.kv_heads
        self.how, self.every, self.noise = c.deal, c.every, c.noise
        self.q, self.o = linear(width, c.heads * size, c.bias), linear(c.heads * size, width, c.bias)
        self.k, self.v = (linear(width, c.kv_heads * size, c.bias) for _ in range(2))
        self.position = c.position.build(c.heads, size) if c.position else None
        self.register_buffer("last", torch.zeros(c.kv_heads))
        self.register_buffer("owner", deal(torch.zeros(c.kv_heads), c.heads))
        self.register_buffer("turn", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        q, k, v = split_heads(self.q(x), self.heads), *(split_heads(f(x), self.groups) for f in (self.k, self.v))
        owner = self._owner(k, at)
        if self.position is not None:
            q, k = self.position.rotate(q, at), self.position.rotate(k, at)
        y = attend(q, _of(k, owner), _of(v, owner), Same(), at, at, self.size**-0.5)
        if self.noise and self.training:
            found = y.transpose(1, 2)[at.valid.expand(len(x), -1)]  # (tokens, H, E)
            middle, spread = found.mean((0, 2)), found.std((0, 2))
            y = y - (middle[:, None, None] + spread[:, None, None] * torch.randn_like(y))
        return self.o(merge_heads(y))

    def _owner(self, k: Tensor, at: Layout) -> Tensor:
        """(H,), or (B, T, H) where every sequence deals for itself: the group of each query head. k (B, G, T, E)."""
        if self.how == "now":
            square = at.to_rows(k.square().sum(-1).mT).sum(1)  # (N, G)
            return deal(square.sqrt(), self.heads)[at.ordinal.clamp_min(0)]
        if self.training and self.how != "even":
            with torch.no_grad():
                self._count(at.to_rows(k.square().sum(-1).mT).sum(1).sqrt().sum(0))
        return self.owner

    def _count(self, norm: Tensor) -> None:
        """Look at the keys of one more batch. norm (G,): sequences summed."""
        if int(self.turn) % self.every == 0:
            first = not bool(self.last.any())
            if self.how == "difference":
                share, last = (norm - self.last.to(norm.dtype)).abs(), norm
            else:
                share = last = norm if first else 0.9 * norm + 0.1 * self.last.to(norm.dtype)
            self.owner.copy_(deal(torch.zeros_like(share) if first and self.how == "difference" else share, self.heads))
            self.last.copy_(last)
        self.turn += 1


def _of(x: Tensor, owner: Tensor) -> Tensor:
    """(B, G, T, E) -> (B, H, T, E): for every query head what its group has."""
    if owner.dim() == 1:
        return x[:, owner]
    index = owner.transpose(1, 2)[..., None].expand(-1, -1, -1, x.shape[-1])
    return x.gather(1, index)
