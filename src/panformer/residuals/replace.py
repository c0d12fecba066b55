"""The first sublayer is added to the stream, later ones take its place; each answer is normalised."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..core.families import Branch, Normal, Residual, whole
from ..core.layout import Layout
from ..core.part import Config as Base


class Replace(Residual):
    """x <- x + norm(f_1(x)), then x <- norm(f_i(x)) for the others. Trockman & Kolter 2022, ConvMixer's block."""

    paper = "Trockman & Kolter 2022, Patches are all you need?"
    final = False

    class Config(Base):
        pass

    def __init__(self, c: Config, width: int, norm: Base, branches: int) -> None:
        super().__init__(c, width, norm, branches)
        self.norms = nn.ModuleList(norm.build(width) for _ in range(branches))

    def forward(self, x: Tensor, at: Layout, branches: Sequence[Branch], normal: Normal = whole) -> Tensor:
        x = at.clean(x)
        for i, (norm, branch) in enumerate(zip(self.norms, branches, strict=True)):
            new = normal(norm, branch(x), at)
            x = x + new if i == 0 else new
        return x
