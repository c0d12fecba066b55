"""Hydra: a state space that reads from both ends, whose matrix is quasiseparable."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Mixer, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads
from ..ops.conv import depthwise
from ..ops.two_sided import quasiseparable
from ._gated_ssm import delta_bias


class Hydra(Mixer):
    """o(norm(y) silu(z)), y = shift(ss(x)) + flip(shift(ss'(flip x))) + (skip + d x) x. Hwang et al. 2024.

    ss is Mamba 2's h_t = exp(delta_t a) h_{t-1} + delta_t x_t b_t', answering h_t c_t; each end has a delta, b and c of
    its own, both share x, z and a. x, b, c are slices of silu(conv(.)), the convolution looks to both sides, and the
    diagonal is one number per head and token, skip + d x.
    """

    paper = "Hwang et al. 2024, Hydra: bidirectional state space models through generalized matrix mixers"
    examples = ({"heads": 2, "state": 4}, {"heads": 4, "state": 3, "expand": 1, "kernel": 3})

    class Config(Base):
        heads: int = Field(4, gt=0)
        state: int = Field(64, gt=0, description="numbers remembered per channel, from either end")
        expand: int = Field(2, gt=0, description="channels inside, as a multiple of the width")
        kernel: int = Field(7, gt=0, description="odd: tokens the convolution sees")
        eps: float = Field(1e-5, gt=0, description="of the norm")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        inner = c.expand * width
        if inner % c.heads:
            raise InputError(f"hydra: {inner} channels do not divide into {c.heads} heads")
        if c.kernel % 2 == 0:
            raise InputError(f"hydra: kernel must be odd, so that a token is in its middle; got {c.kernel}")
        self.heads, self.eps = c.heads, c.eps
        self.parts = (inner, *[c.state] * 4)  # x; b and c from the start; b and c from the end
        self.sizes = (inner, sum(self.parts), 2 * c.heads)
        self.input = linear(width, sum(self.sizes), False)
        self.filter = nn.Parameter(torch.empty(sum(self.parts), c.kernel).uniform_(-1, 1) * c.kernel**-0.5)
        self.offset = nn.Parameter(torch.zeros(sum(self.parts)))
        self.delta = nn.Parameter(delta_bias(c.heads))  # before the softplus
        self.a_log = nn.Parameter(torch.zeros(c.heads))
        self.skip = nn.Parameter(torch.ones(c.heads))
        self.d = linear(inner, c.heads, False)
        self.weight = nn.Parameter(torch.ones(inner))
        self.output = linear(inner, width, False)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        mix, v, z = self._mixing(x, at)
        y = merge_heads(mix(v)).to(z.dtype)
        return self.output(F.rms_norm(y, y.shape[-1:], self.weight, self.eps) * F.silu(z))

    def mixing(self, x: Tensor, at: Layout) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """(the map that is linear in values (B, H, T, V), with all that x says about it held; the values of x)."""
        return self._mixing(x, at)[:2]

    def _mixing(self, x: Tensor, at: Layout) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
        z, u, delta = self.input(at.clean(x)).split(self.sizes, -1)
        u = at.clean(F.silu(depthwise(u, self.filter, self.offset, at, self.filter.shape[1] // 2)))
        wide = torch.promote_types(u.dtype, torch.float32)
        x, *scores = u.split(self.parts, -1)
        diagonal = (self.skip + self.d(x)).mT[..., None]
        b, c, late_b, late_c = (s.to(wide)[:, None] for s in scores)  # one head for all
        delta = at.clean(F.softplus(delta.unflatten(-1, (2, -1)).to(wide) + self.delta.to(wide)))
        steps = tuple(s.mT for s in delta.unbind(2))  # (B, H, T), from the start and from the end
        falls = tuple(s * -torch.exp(self.a_log.to(wide))[:, None] for s in steps)

        def mix(v: Tensor) -> Tensor:
            told = tuple(s[..., None] * v.to(wide) for s in steps)
            return quasiseparable((c, late_c), (b, late_b), told, falls, at) + diagonal * v

        return mix, split_heads(x, self.heads), z
