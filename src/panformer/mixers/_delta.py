"""What the delta rule's mixers share: short convolutions, keys of length 1, and a memory that corrects itself."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..core.state import State
from ..ops.attend import merge_heads, split_heads, spread
from ..ops.conv import depthwise, depthwise_chunk
from ..ops.delta_rule import delta_rule


class Delta(Mixer):
    """o(read(S_t q_t / sqrt(E))), S_t = a_t S_{t-1} (I - b_t k_t k_t') + b_t v_t k_t'.

    q, k, v are slices of silu(conv(.)), q and k brought to length 1; b = sigmoid(.), one number per head. Heads of a
    group share q and k.
    """

    causal = True

    class Options(Base):
        heads: int = Field(4, gt=0)
        groups: int | None = Field(None, gt=0, description="sets of q and k; default: one per head")
        size: int | None = Field(None, gt=0, description="numbers in a query, key or value; default: width / heads")
        kernel: int = Field(4, gt=0, description="tokens the convolution sees")
        eps: float = Field(1e-6, gt=0, description="of the norms")

    def __init__(self, c: Options, width: int) -> None:
        super().__init__()
        self.heads, self.groups, self.eps = c.heads, c.groups or c.heads, c.eps
        if self.heads % self.groups:
            raise InputError(f"{self.use()}: {c.heads} heads do not divide into {self.groups} groups")
        self.size = c.size or head_width(self, width, c.heads)
        self.inner = c.heads * self.size
        self.parts = (self.groups * self.size, self.groups * self.size, self.inner)
        self.input = linear(width, sum(self.parts), False)
        self.filter = nn.Parameter(torch.empty(sum(self.parts), c.kernel).uniform_(-1, 1) * c.kernel**-0.5)
        self.b = linear(width, c.heads, False)
        self.weight = nn.Parameter(torch.ones(self.size))
        self.output = linear(self.inner, width, False)

    def fall(self, x: Tensor) -> Tensor | None:
        """log a (B, T, H), None where nothing fades."""
        return None

    def read(self, y: Tensor, x: Tensor) -> Tensor:
        """What is made of the answers y (B, T, H, size), normalised."""
        return y

    def nothing(self, q: Tensor) -> State:
        """The memory before the first token; q (B, H, 0, size) is a query of none."""
        return q.new_zeros(*q.shape[:2], self.size, self.size, dtype=torch.promote_types(q.dtype, torch.float32))

    def remember(
        self, q: Tensor, k: Tensor, v: Tensor, b: Tensor, x: Tensor, at: Layout, s: State | None
    ) -> tuple[Tensor, State]:
        """(answers (B, H, T, size), the memory after the last token)."""
        fall = self.fall(x)
        return delta_rule(q, k, v, b, None if fall is None else fall.mT, at, s)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        u = depthwise(self.input(x), self.filter, None, at, self.filter.shape[1] - 1)
        return self._mix(u, x, at, None)[0]

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, State]:
        past = like.new_zeros(batch, self.filter.shape[1] - 1, sum(self.parts))
        return past, self.nothing(like.new_zeros(batch, self.heads, 0, self.size))

    def chunk(self, x, at, state, shared=None):
        past, s = state
        x = at.clean(x)
        u, now = depthwise_chunk(self.input(x), self.filter, None, at, past)
        y, s = self._mix(u, x, at, s)
        return y, (now.to(past.dtype), s)

    def _mix(self, u: Tensor, x: Tensor, at: Layout, s: State | None) -> tuple[Tensor, State]:
        q, k, v = F.silu(u).split(self.parts, -1)
        q, k = (spread(self.one(split_heads(z, self.groups)), self.heads) for z in (q, k))
        b = at.clean(torch.sigmoid(self.b(x))).mT
        y, s = self.remember(q * self.size**-0.5, k, split_heads(v, self.heads), b, x, at, s)
        y = F.rms_norm(merge_heads(y).unflatten(-1, (self.heads, -1)), (self.size,), self.weight, self.eps)
        return self.output(self.read(y, x).flatten(-2)), s

    def one(self, x: Tensor) -> Tensor:
        """Brought to length 1."""
        return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + self.eps)
