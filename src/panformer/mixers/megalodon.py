"""Megalodon: averages that fade and turn carry the past, and gated attention in chunks reads what is near."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Mixer, linear
from ..core.grow import grown, tail
from ..core.layout import Layout, exporting
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.score import Causal, Same, along
from ..core.shared import Shared
from ..ops.attend import attend, merge_heads, split_heads
from ..ops.cema import cema
from ._past import first_in_chunk, joined, nothing, remembered


class Megalodon(Mixer):
    """w_h u + w_o(silu(w_r u) softmax(q k') silu(w_v x)), u = norm(CEMA(x) + omega x), within chunks of positions.

    q and k are one vector w_z u, every head brought to length 1, times weights and plus offsets of their own; the
    products are not scaled. In CEMA channel d has N complex averages h = e^(i theta) (alpha x_t + (1 - alpha delta) h)
    and answers Re(eta . h) / sqrt(N), with theta_n = (2 pi n / N) omega_d. `average: real` is Mega's, where theta is 0
    and eta is real. The paper normalises x over the time steps (`norm: timestep`), turns queries and keys (`position:
    rope`) and joins its layers by `two_hop`. Ma et al. 2024; Ma et al. 2022, Mega.
    """

    paper = "Ma et al. 2024, Megalodon: efficient LLM pretraining and inference with unlimited context length"
    causal = True
    positions = frozenset({"rotate"})
    undecayed = ("alpha", "delta", "eta", "gain", "shift")
    examples = (
        {"heads": 2, "state": 3, "chunk": 5},
        {"heads": 1, "keys": 6, "expand": 1, "state": 4, "chunk": 4, "position": "rope"},
        {"heads": 2, "average": "real", "chunk": 8},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        keys: int | None = Field(
            None, gt=0, description="numbers in the queries or keys of all heads; default: width / 4"
        )
        expand: int = Field(2, gt=0, description="width of the values, as a multiple of the width")
        state: int = Field(16, gt=0, description="averages remembered per channel")
        average: Literal["complex", "real"] = "complex"
        chunk: int = Field(2048, gt=0, description="positions that attention sees together")
        eps: float = Field(1e-5, gt=0, description="of the norms")
        position: Annotated[Base | None, Slot("positions")] = None

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        keys, values = c.keys or width // 4, c.expand * width
        if not keys or keys % c.heads or values % c.heads:
            raise InputError(f"megalodon: {keys} keys and {values} values do not divide into {c.heads} heads")
        self.heads, self.size, self.chunked, self.eps = c.heads, keys // c.heads, c.chunk, c.eps
        self.alpha = nn.Parameter(0.2 * torch.randn(width, c.state))  # before the sigmoid, as the next two
        self.delta = nn.Parameter(0.2 * torch.randn(width, c.state))
        self.theta = nn.Parameter(_angles(width)) if c.average == "complex" else None
        parts = 2 if c.average == "complex" else 1
        self.eta = nn.Parameter(torch.cat([torch.randn(width, c.state, 1), torch.zeros(width, c.state, parts - 1)], -1))
        self.omega = nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.25, a=-1.0, b=1.0))
        self.weight = nn.Parameter(torch.ones(width))
        self.z, self.r, self.h = linear(width, keys), linear(width, values), linear(width, width)
        self.v, self.o = linear(width, values), linear(values, width, False)
        self.gain, self.shift = nn.Parameter(torch.ones(2, keys)), nn.Parameter(torch.zeros(2, keys))
        self.position = c.position.build(c.heads, self.size) if c.position else None

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        along(at)
        x = at.clean(x)
        u, _ = self._average(x, at, None)
        q, k, v = self._maps(u, x, at)
        here = at.derive(("chunks of positions", self.chunked), lambda: _cut(at, self.chunked))
        return self._read(q, k, v, here, here, u)

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, ...]:
        wide = torch.promote_types(like.dtype, torch.float32)
        h = like.new_zeros(batch, *self.alpha.shape, 2, dtype=wide)
        k, v = (like.new_zeros(batch, self.heads, 0, m.out_features // self.heads) for m in (self.z, self.v))
        return h, k, v, *nothing(batch, like)

    def chunk(self, x, at, state, shared=None):
        h, k, v, seg, pos = state
        x = at.clean(x)
        u, h = self._average(x, at, h)
        q, *new = self._maps(u, x, at)
        k, v, past = grown(k, new[0], 2), grown(v, new[1], 2), joined((seg, pos), at)
        y = self._read(q, k, v, _marked(at, self.chunked), _marked(past, self.chunked), u)
        if not exporting():
            first = first_in_chunk(past, self.chunked)
            k, v = tail(k, 2, first), tail(v, 2, first)
            past = past.derive(("from", first), lambda: past.span(first, past.length))
        return y, (h, k, v, *remembered(past))

    def _average(self, x: Tensor, at: Layout, h: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(u, the averages so far): x (B, T, D), h (B, D, N, 2)."""
        wide = torch.promote_types(x.dtype, torch.float32)
        alpha, delta = self.alpha.to(wide).sigmoid(), self.delta.to(wide).sigmoid()
        turn, weight = torch.zeros_like(alpha), self.eta.to(wide)
        if self.theta is None:
            weight = F.pad(weight, (0, 1))
        else:
            number = torch.arange(1, alpha.shape[1] + 1, device=x.device, dtype=wide)
            turn = 2 * math.pi / alpha.shape[1] * number * self.theta.to(wide).sigmoid()[:, None]
            (a, b), cos, sin = weight.unbind(-1), turn.cos(), turn.sin()
            weight = torch.stack((a * cos - b * sin, a * sin + b * cos), -1)  # the new token is turned, too
        weight = weight * (alpha * alpha.shape[1] ** -0.5)[..., None]
        y, h = cema(x, torch.log1p(-alpha * delta), turn, weight, at, h)
        return F.rms_norm(y + self.omega * x, self.weight.shape, self.weight, self.eps), h

    def _maps(self, u: Tensor, x: Tensor, at: Layout) -> tuple[Tensor, Tensor, Tensor]:
        """(q (B, H, T, E), k (B, H, T, E), v (B, H, T, V))."""
        z = F.rms_norm(self.z(u).unflatten(-1, (self.heads, -1)), (self.size,), eps=self.eps) * self.size**-0.5
        q, k = (split_heads(z.flatten(-2) * gain + shift, self.heads) for gain, shift in zip(self.gain, self.shift))
        if self.position is not None:
            q, k = self.position.rotate(q, at), self.position.rotate(k, at)
        return q, k, split_heads(F.silu(self.v(x)), self.heads)

    def _read(self, q: Tensor, k: Tensor, v: Tensor, at: Layout, k_at: Layout, u: Tensor) -> Tensor:
        found = merge_heads(attend(q, k, v, Same() & Causal(), at, k_at, 1.0))
        return self.h(u) + self.o(F.silu(self.r(u)) * found)


def _angles(width: int) -> Tensor:
    """(width,) whose sigmoids are spread evenly, on a log scale, from 1 / width to 1, in any order."""
    share = torch.exp(-math.log(width) / width * (1 + torch.randperm(width)))
    return torch.logit(share)


def _cut(at: Layout, size: int) -> Layout:
    """The layout in which every chunk of `size` positions is a sequence: then attention needs no mask of its own."""
    first = at.starts | (at.valid & (at.pos[..., 0] % size == 0))
    if not exporting() and at.full and not bool(first[:, 1:].any()):
        return at
    return Layout(torch.where(at.valid, first.cumsum(1) - 1, -1), at.pos, padless=at.full or at.padless)


def _marked(at: Layout, size: int) -> Layout:
    """The same for rows that are pieces of one sequence, padding anywhere: named by the chunk itself."""
    return at.derive(("marked", size), lambda: Layout(torch.where(at.valid, at.pos[..., 0] // size, -1), at.pos))
