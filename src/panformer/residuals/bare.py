"""Sublayers one after the other, with no stream beside them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..core.families import Branch, Normal, Residual, whole
from ..core.layout import Layout
from ..core.part import Config as Base


class Bare(Residual):
    """x <- f(x) for each branch in turn: for a mixer that holds whole layers, with streams and norms of their own."""

    final = False

    class Config(Base):
        pass

    def forward(self, x: Tensor, at: Layout, branches: Sequence[Branch], normal: Normal = whole) -> Tensor:
        for branch in branches:
            x = branch(x)
        return x
