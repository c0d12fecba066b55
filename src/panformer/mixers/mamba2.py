"""Mamba 2: a state space with one decay per head, which is linear attention whose past fades as the input says."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Mixer, linear
from ..core.layout import Layout
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads
from ..ops.conv import depthwise, depthwise_chunk
from ..ops.falls import fallen
from ..ops.linear_attention import linear_attention, linear_attention_chunk, sums
from ._gated_ssm import GatedSSM, delta_bias


class Mamba2(Mixer):
    """h_t = exp(delta_t a) h_{t-1} + delta_t x_t b_t', y_t = h_t c_t + skip x_t; o(norm(y silu(z)) weight).

    x, b, c are slices of silu(conv(.)), delta = softplus(. + offset) one number per head, a = -exp(a_log) too. Heads
    of a group share b and c, as in grouped-query attention: c is the query, b the key, delta x the value. Each group's
    channels are brought to mean square 1. Dao & Gu 2024.
    """

    paper = "Dao & Gu 2024, Transformers are SSMs: generalized models and efficient algorithms"
    causal = True
    examples = (
        {"heads": 4, "state": 4},
        {"heads": 6, "groups": 3, "expand": 3, "state": 3, "kernel": 2, "bias": True, "conv_bias": False},
    )

    class Config(GatedSSM.Options):
        state: int = Field(64, gt=0, description="numbers remembered per channel")
        heads: int = Field(4, gt=0)
        groups: int = Field(1, gt=0, description="sets of b and c")
        eps: float = Field(1e-5, gt=0, description="of the norm")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        inner = c.expand * width
        if inner % c.heads or c.heads % c.groups:
            raise InputError(f"mamba2: {inner} channels in {c.heads} heads in {c.groups} groups does not divide evenly")
        self.heads, self.groups, self.eps = c.heads, c.groups, c.eps
        self.parts = (inner, c.groups * c.state, c.groups * c.state)
        self.sizes = (inner, sum(self.parts), c.heads)
        self.input = linear(width, sum(self.sizes), c.bias)
        self.filter = nn.Parameter(torch.empty(sum(self.parts), c.kernel).uniform_(-1, 1) * c.kernel**-0.5)
        self.offset = nn.Parameter(torch.zeros(sum(self.parts))) if c.conv_bias else None
        self.delta = nn.Parameter(delta_bias(c.heads, c.delta_min, c.delta_max))  # before the softplus
        self.a_log = nn.Parameter(torch.arange(1.0, c.heads + 1).log())
        self.skip = nn.Parameter(torch.ones(c.heads))
        self.weight = nn.Parameter(torch.ones(inner))
        self.output = linear(inner, width, c.bias)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        z, u, delta = self.input(at.clean(x)).split(self.sizes, -1)
        u = depthwise(u, self.filter, self.offset, at, self.filter.shape[1] - 1)
        q, k, v, x, fall = self._scores(u, delta, at)
        fall = fallen(fall, at, False)
        return self._read(linear_attention(q, k, v, at, True, (fall, fall)), x, z)

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, Tensor]:
        inner, keys, _ = self.parts
        past = like.new_zeros(batch, self.filter.shape[1] - 1, sum(self.parts))
        return past, sums(like, batch, self.heads, keys // self.groups, inner // self.heads)

    def chunk(self, x, at, state, shared=None):
        past, h = state
        z, u, delta = self.input(at.clean(x)).split(self.sizes, -1)
        u, now = depthwise_chunk(u, self.filter, self.offset, at, past)
        q, k, v, x, fall = self._scores(u, delta, at)
        fall = fallen(fall, at, True)  # from the last token before, as of which the state stands
        before = fall.new_zeros(fall.shape[:2])
        y, (last, _) = linear_attention_chunk(q, k, v, at, (fall, fall), (h, before))
        return self._read(y, x, z), (now.to(past.dtype), last.to(h.dtype))

    def _scores(self, u: Tensor, delta: Tensor, at: Layout) -> tuple[Tensor, ...]:
        """(c, b, delta x, x) heads first, in float32 or wider, and the log-decay of each token (B, H, T)."""
        wide = torch.promote_types(u.dtype, torch.float32)
        x, b, c = (at.clean(F.silu(u)).to(wide)).split(self.parts, -1)
        q, k = (split_heads(w, self.groups) for w in (c, b))
        if self.groups > 1:
            q, k = (w.repeat_interleave(self.heads // self.groups, 1) for w in (q, k))
        delta = at.clean(F.softplus(delta.to(wide) + self.delta.to(wide)))
        fall = (delta * -torch.exp(self.a_log.to(wide))).mT
        x = split_heads(x, self.heads)
        return q, k, delta.mT[..., None] * x, x, fall

    def _read(self, y: Tensor, x: Tensor, z: Tensor) -> Tensor:
        y = merge_heads(y + self.skip.to(y.dtype)[:, None, None] * x)
        y = (y * F.silu(z.to(y.dtype))).unflatten(-1, (self.groups, -1))
        return self.output(F.rms_norm(y, y.shape[-1:], None, self.eps).flatten(-2).to(z.dtype) * self.weight)
