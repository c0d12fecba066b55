"""A bias that a small network computes from the distance, seen relative to how far the query has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Position, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.score import Score, distance
from ._relative import once


class Fire(Position):
    """f(psi(|i - j|) / psi(max(L, i))), psi(x) = log(1 + c x), f = out relu(in ...), c and L learned.

    For keys before the query the argument of f stays in [0, 1] at any length. f has `hidden` units and one
    output per head. The network runs on every pair, so memory grows with hidden n^2. Li et al. 2023.
    """

    paper = "Li et al. 2023, Functional interpolation for relative positions improves long context transformers"
    kind = "bias"
    examples = ({"hidden": 8, "threshold": 6.0},)

    class Config(Base):
        hidden: int = Field(32, gt=0)
        c: float = Field(0.1, gt=0, description="c at the start")
        threshold: float = Field(512.0, gt=0, description="L at the start")

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__()
        self.c = nn.Parameter(torch.tensor(c.c))
        self.threshold = c.threshold
        self.stretch = nn.Parameter(torch.ones(()))  # L = threshold * stretch: steps of the size of other weights
        first = linear(1, c.hidden)
        nn.init.uniform_(first.bias, -1, 1)  # knees all over [0, 1]; at bias 0 the network would be linear there
        self.f = nn.Sequential(first, nn.ReLU(), linear(c.hidden, heads))

    def bias(self) -> Score:
        return Interpolated(self.f, self.c.abs(), (self.threshold * self.stretch).abs())


@dataclass(frozen=True, eq=False)
class Interpolated(Score):
    f: Callable[[Tensor], Tensor]  # (..., 1) -> (..., H)
    c: Tensor  # ()
    threshold: Tensor  # ()

    def value(self, q: Layout, k: Layout) -> Tensor:
        q, k = once(q, k)
        reach = torch.maximum(q.pos[:, None, :, None, 0].to(self.c.dtype), self.threshold)
        share = self._psi(distance(q, k).abs()) / self._psi(reach).clamp(min=1e-6)  # (B|1, 1, T, S)
        return self.f(share[..., None])[:, 0].permute(0, 3, 1, 2)

    def _psi(self, x: Tensor) -> Tensor:
        return torch.log1p(self.c * x)
