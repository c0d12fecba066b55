"""An image as a lattice of patches, each built from smaller ones by a few maps that never leave it."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..ops.activations import ACTIVATIONS, Activation
from ._finish import Finished, Ordered


class NestedPatches(Finished):
    """hMLP: x <- act(norm(W x's s x s cells)) for each s of `merge`, the last without act: (B, C, H, W) -> (B, h w, D).

    The sides s of the merged squares multiply to the side of a patch. All maps but the last answer `hidden` numbers.
    A token depends on the pixels of its own patch alone, so that hiding a patch before or after the stem is the same,
    as training on hidden patches needs; norms that count look at the batch while they train. Touvron et al. 2022.
    """

    reads = "image"
    paper = "Touvron et al. 2022, Three things everyone should know about vision Transformers"
    examples = (
        {"merge": [2, 1], "channels": 3, "each": "layer"},
        {
            "merge": [1, 2],
            "channels": 3,
            "hidden": 5,
            "each": "rms",
            "position": {"use": "learned_grid", "grid": [4, 3]},
        },
    )

    class Config(Ordered):
        merge: tuple[int, ...] = Field(
            (4, 2, 2), min_length=1, description="side of the squares that become one, in turn"
        )
        channels: int = Field(3, gt=0)
        hidden: int | None = Field(None, gt=0, description="default: a quarter of the width")
        activation: Activation = "gelu"
        each: Annotated[Base, Slot("norms")] = Field("batch", validate_default=True, description="after every map")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c, width)
        if min(c.merge) < 1:
            raise InputError(f"nested_patches: merge takes positive sides, got {list(c.merge)}")
        if not c.each.part.pointwise:
            raise InputError(f"nested_patches: norm {c.each.part.use()!r} looks at other cells; they must stay apart")
        self.size, self.channels, self.act = math.prod(c.merge), c.channels, ACTIVATIONS[c.activation]
        sizes = [c.channels, *[c.hidden or max(1, width // 4)] * (len(c.merge) - 1), width]
        self.maps = nn.ModuleList(_merge(a, b, s) for a, b, s in zip(sizes, sizes[1:], c.merge, strict=False))
        self.norms = nn.ModuleList(c.each.build(n) for n in sizes[1:])

    def forward(self, raw: Tensor, at: Layout | None = None) -> tuple[Tensor, Layout]:
        if at is not None:
            raise InputError("nested_patches: images come without lengths")
        channels, *sides = raw.shape[1:]
        if channels != self.channels:
            raise InputError(f"nested_patches: images have {channels} channels, this embed reads {self.channels}")
        if min(sides) < 1 or any(s % self.size for s in sides):
            raise InputError(f"nested_patches: {sides[0]} x {sides[1]} does not cut into patches of {self.size}")
        cells = raw
        for i, (merge, norm) in enumerate(zip(self.maps, self.norms, strict=True)):
            cells = merge(cells if i == 0 else self.act(cells))
            there = Layout.lattice(len(raw), tuple(cells.shape[2:]), raw.device)
            x = norm(cells.flatten(2).mT, there)
            cells = x.mT.unflatten(2, cells.shape[2:])
        return self.finish(x, there), there

    def dummy(self, batch: int, length: int) -> Tensor:
        tall = max(1, math.isqrt(length))
        return torch.zeros(batch, self.channels, tall * self.size, round(length / tall) * self.size)


def _merge(inputs: int, outputs: int, side: int) -> nn.Conv2d:
    """A linear map of every square of cells, none of which is in two."""
    conv = nn.Conv2d(inputs, outputs, side, side)
    nn.init.normal_(conv.weight, std=(inputs * side**2) ** -0.5)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv
