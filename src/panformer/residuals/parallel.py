"""Sublayers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Branch, Normal, Residual, whole
from ..core.layout import Layout
from ..core.part import Config as Base


class Parallel(Residual):
    """x + sum_i f_i(norm(x)): all branches read the same stream, through one norm or one `each`.

    Wang & Komatsuzaki 2021 (GPT-J, one norm); Black et al. 2022 (GPT-NeoX, one each).
    """

    paper = "Wang & Komatsuzaki 2021, GPT-J-6B"
    examples = ({}, {"norms": "each"})

    class Config(Base):
        norms: Literal["one", "each"] = "one"
        dropout: float = Field(0.0, ge=0, lt=1, description="of what a branch adds")

    def __init__(self, c: Config, width: int, norm: Base, branches: int) -> None:
        super().__init__(c, width, norm, branches)
        self.dropout, self.branches = c.dropout, branches
        self.norms = nn.ModuleList(norm.build(width) for _ in range(1 if c.norms == "one" else branches))

    def forward(self, x: Tensor, at: Layout, branches: Sequence[Branch], normal: Normal = whole) -> Tensor:
        if len(branches) != self.branches:
            raise InputError(f"parallel: built for {self.branches} branches, called with {len(branches)}")
        views = [normal(norm, x, at) for norm in self.norms]
        out = x
        for i, branch in enumerate(branches):
            out = out + F.dropout(branch(views[i % len(views)]), self.dropout, self.training)
        return out
