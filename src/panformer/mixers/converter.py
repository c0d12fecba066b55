"""Converter: a unitary convolution on a directed graph whose eigenvectors and eigenvalues are made from the tokens."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import Mixer, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.digraph import digraph

EPS = 1e-6  # under squared lengths


class Converter(Mixer):
    """o([Re y, Im y]), y = U' diag(exp(i g(l))) U v, v = w_r x + i w_i x; U and l are made from x, token by token.

    U is unitary, a product of rotations of neighbours (see `ops/digraph.py`): six numbers a token, the means of six
    runs of the channels of z / |z|, z = s(x). l in [-1, 1] is the mean of another such s. s(x) = sin(w_2 h + b_2),
    h = gain u / |u|, u = sin(w_1 x + b_1). g(l) = sum_k c_k d_k T_k(l), k <= `order`, is a Chebyshev polynomial whose
    terms are damped by d. So the matrix over the tokens is unitary. Zhang et al. 2025.
    """

    paper = "Zhang et al. 2025, Converting Transformers into DGNNs form"
    examples = ({}, {"order": 4, "damping": "jackson", "stride": 3}, {"order": 3, "damping": "fejer"})

    class Config(Base):
        order: int = Field(2, ge=1, description="of the polynomial of the eigenvalues")
        damping: Literal["none", "fejer", "jackson", "lanczos"] = Field("none", description="of its higher terms")
        stride: int = Field(1, gt=0, description="how far apart the places are that are neighbours to a rotation")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.stride, self.damp = c.stride, damping(c.damping, c.order)
        self.turns, self.spectrum = Sines(width), Sines(width)
        self.series = nn.Parameter(torch.full((c.order + 1,), 2 / (c.order + 1)))
        self.value, self.output = linear(width, 2 * width, False), linear(2 * width, width, False)
        with torch.no_grad():
            self.series[0] /= 2

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        rows = at.to_rows(x)
        re, im = self.value(rows).chunk(2, -1)
        turns = F.adaptive_avg_pool1d(unit(self.turns(rows)), 6)
        y = digraph(re, im, turns, self._filter(self.spectrum(rows).mean(-1)), at.as_rows().valid, self.stride)
        return at.from_rows(self.output(torch.cat(y, -1)))

    def _filter(self, eigen: Tensor) -> Tensor:
        """g(l), by T_k = 2 l T_{k-1} - T_{k-2}."""
        before, now = torch.ones_like(eigen), eigen
        total = self.series[0] * before
        for c, d in zip(self.series[1:], self.damp[1:], strict=True):
            total = total + c * d * now
            before, now = now, 2 * eigen * now - before
        return total


class Sines(nn.Module):
    """s(x) = sin(w_2 h + b_2), h = gain u / |u|, u = sin(w_1 x + b_1). Sitzmann et al. 2020, SIREN, for the weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = linear(width, width), linear(width, width)
        self.gain = nn.Parameter(torch.ones(width))
        for layer in (self.first, self.second):
            nn.init.uniform_(layer.weight, -math.sqrt(6 / width), math.sqrt(6 / width))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.gain * unit(self.first(x).sin())).sin()


def unit(x: Tensor) -> Tensor:
    """x / |x|."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + EPS)


def damping(kind: str, order: int) -> tuple[float, ...]:
    """d_k for k = 0 .. `order`: what keeps a cut series from swinging at jumps. Weisse et al. 2006."""
    n, out = order + 1, []
    step = math.pi / (n + 1)
    for k in range(n):
        share = k / n
        if kind == "fejer":
            out.append(1 - share)
        elif kind == "jackson":
            sides = (n + 1 - k) * math.cos(k * step), math.sin(k * step) / math.tan(step)
            out.append(sum(sides) / (n + 1))
        elif kind == "lanczos":
            out.append((math.sin(math.pi * share) / (math.pi * share)) ** 3 if k else 1.0)
        else:
            out.append(1.0)
    return tuple(out)
