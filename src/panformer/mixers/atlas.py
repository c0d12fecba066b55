"""Atlas: a memory that learns the last tokens together, by steps of gradient descent, of momentum, or of Muon."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.state import State
from ..ops.omega_memory import Memory, nothing
from ..ops.omega_rule import omega_rule
from ._delta import Delta


class Atlas(Delta):
    """o(norm(S_t' phi(q_t))), S_t = a_t S_{t-1} - r_t f(Z_t), Z_t = p_t Z_{t-1} + sum_{i = t-c+1 .. t} g_i dL_i(R)'.

    L_i(R) = |R' phi(k_i) - v_i|^2 / 2 and R is the memory before this `chunk` of tokens: S_{t-1} where that is 1. q, k, v
    are slices of silu(conv(.)); q, k and phi of them are brought to length 1. g = exp(u) sigmoid(.) with u learned,
    log a = log sigmoid(. + 4), one number per head. `inner: descent` has p = 0, r = 1 and f(Z) = Z; `momentum` has
    p = sigmoid(.) and r = sigmoid(.); `muon` also has f, which brings the singular values of Z near 1 in five steps.
    exp(u) starts at 1 / (c chunk), so that the steps of a chunk are no more than one whole step; with f, which forgets how
    large a slope is, at 1, and r near 0.1. Behrouz et al. 2025,
    with a matrix for a memory, not a deep network. c = chunk = 1, `descent` and a = 1 are DeltaNet.
    """

    paper = "Behrouz et al. 2025, Atlas: learning to optimally memorize the context at test time"
    examples = (
        {"heads": 2},
        {"heads": 2, "window": 3, "chunk": 1, "inner": "descent"},
        {"heads": 4, "groups": 2, "size": 3, "kernel": 2, "window": 5, "chunk": 4, "inner": "momentum"},
        {"heads": 4, "window": 2, "chunk": 3, "feature": "polynomial"},
    )

    class Config(Delta.Options):
        window: int = Field(8, gt=0, description="c: tokens that are learned together")
        chunk: int = Field(16, gt=0, description="tokens whose slopes are taken at one memory")
        inner: Literal["descent", "momentum", "muon"] = "muon"
        feature: Annotated[Base | None, Slot("features")] = Field(None, description="phi; null: as they are")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c, width)
        self.window, self.slice, self.steps = c.window, c.chunk, 5 if c.inner == "muon" else 0
        self.feature = c.feature.build(c.heads, self.size) if c.feature else None
        self.a = linear(width, c.heads)
        nn.init.constant_(self.a.bias, 4.0)
        whole = 1 if self.steps else c.window * c.chunk
        self.u = nn.Parameter(torch.full((c.heads,), -math.log(whole)))
        self.p = None if c.inner == "descent" else linear(width, c.heads)
        self.r = None if c.inner == "descent" else linear(width, c.heads)
        if self.r is not None and self.steps:
            nn.init.constant_(self.r.bias, -2.0)

    def nothing(self, q: Tensor) -> State:
        return nothing(q.new_zeros(*q.shape[:3], self.wide), q, self.window)

    @property
    def wide(self) -> int:
        """Channels of phi."""
        return self.size if self.feature is None else self.feature.size

    def remember(
        self, q: Tensor, k: Tensor, v: Tensor, b: Tensor, x: Tensor, at: Layout, s: State | None
    ) -> tuple[Tensor, State]:
        if self.feature is not None:
            q, k = (self.one(z) for z in self.feature(self.one(q), k))
        g = b * self.u.exp()[:, None]
        fall = F.logsigmoid(self.a(x)).mT
        push = None if self.p is None else F.logsigmoid(self.p(x)).mT
        rate = None if self.r is None else torch.sigmoid(self.r(x)).mT
        s = None if s is None else Memory(*s)
        return omega_rule(q, k, v, g, fall, push, rate, at, s, self.window, self.slice, self.steps)
