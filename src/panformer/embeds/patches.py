"""An image as a lattice of patches."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.layout import Layout
from ._finish import Finished, Ordered


class Patches(Finished):
    """One linear map of every `size` x `size` patch: (B, C, H, W) -> (B, h w, D) on the lattice (h, w).

    Images may have any size that the patches cover exactly. `stride` below `size` and `padding` overlap them, as in
    a convolutional stem; pixels that then fill no patch are left out on the right and below. `class_token` puts a
    learned token first: the layout is no lattice any more, the token stands at (0, 0) and patch (r, c) at
    (r + 1, c + 1). Dosovitskiy et al. 2020, ViT; Yu et al. 2021 (overlap).
    """

    reads = "image"
    paper = "Dosovitskiy et al. 2020, An image is worth 16x16 words"
    examples = (
        {"size": 2, "channels": 3},
        {"size": 2, "channels": 3, "class_token": True, "position": {"use": "learned", "length": 64}},
        {"size": 3, "stride": 2, "padding": 1, "channels": 3, "norm": "layer"},
    )

    class Config(Ordered):
        size: int = Field(16, gt=0, description="pixels on each side of a patch")
        stride: int | None = Field(None, gt=0, description="pixels from patch to patch; default: size")
        padding: int = Field(0, ge=0, description="zeros around the image")
        channels: int = Field(3, gt=0)
        bias: bool = True
        class_token: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c, width)
        self.size, self.stride, self.padding, self.channels = c.size, c.stride or c.size, c.padding, c.channels
        self.map = nn.Conv2d(c.channels, width, c.size, self.stride, c.padding, bias=c.bias)
        nn.init.normal_(self.map.weight, std=(c.channels * c.size**2) ** -0.5)
        if self.map.bias is not None:
            nn.init.zeros_(self.map.bias)
        self.first = nn.Parameter(0.02 * torch.randn(width)) if c.class_token else None

    def forward(self, raw: Tensor, at: Layout | None = None) -> tuple[Tensor, Layout]:
        if at is not None:
            raise InputError("patches: images come without lengths")
        self._check(raw)
        cells = self.map(raw)  # (B, D, h, w)
        batch, _, h, w = cells.shape
        x, at = cells.flatten(2).transpose(1, 2), Layout.lattice(batch, (h, w), raw.device)
        if self.first is not None:
            x = torch.cat([self.first.expand(batch, 1, -1), x], 1)
            at = _with_first(at)
        return self.finish(x, at), at

    def dummy(self, batch: int, length: int) -> Tensor:
        tall = max(1, math.isqrt(length))
        sides = [(n - 1) * self.stride + self.size - 2 * self.padding for n in (tall, round(length / tall))]
        return torch.zeros(batch, self.channels, *(max(1, s) for s in sides))

    def _check(self, raw: Tensor) -> None:
        channels, *sides = raw.shape[1:]
        if channels != self.channels:
            raise InputError(f"patches: images have {channels} channels, this embed reads {self.channels}")
        whole = self.stride == self.size and not self.padding
        if min(sides) + 2 * self.padding < self.size or (whole and any(s % self.size for s in sides)):
            raise InputError(f"patches: an image of {sides[0]} x {sides[1]} does not cut into patches of {self.size}")


def _with_first(at: Layout) -> Layout:
    """A token before the lattice, at the origin; the cells move one step away from it."""
    pos = torch.cat([torch.zeros_like(at.pos[:, :1]), at.pos + 1], 1)
    return Layout(at.seg[:, :1].expand(at.batch, pos.shape[1]), pos, full=True)
