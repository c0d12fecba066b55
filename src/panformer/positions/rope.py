"""Rotary positions."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Position
from ..core.layout import Layout
from ..core.part import Config as Base
from ..ops.rotary import Pairing, angles, rotate


class Rope(Position):
    """R(t) x: pairs of numbers turned by t base^(-2i / width), so that R(s)q . R(t)k depends on t - s alone.

    With P coordinates each turns an equal part of the pairs. `partial` of the width is turned, the rest is left
    as it is. `half` pairs i with i + width/2 (Llama), `interleaved` 2i with 2i + 1 (RoFormer): the same map up
    to a permutation of the width. Su et al. 2021.
    """

    paper = "Su et al. 2021, RoFormer: enhanced transformer with rotary position embedding"
    kind = "rotate"
    examples = ({}, {"pairing": "interleaved"}, {"partial": 0.5, "base": 500.0})

    class Config(Base):
        base: float = Field(10_000.0, gt=1)
        partial: float = Field(1.0, gt=0, le=1, description="fraction of the head width that is turned")
        pairing: Pairing = "half"

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__()
        self.base, self.pairing = c.base, c.pairing
        self.width = round(c.partial * size)
        if self.width % 2:
            raise InputError(f"rope: {self.width} of {size} numbers per head cannot be paired; it must be even")

    def rotate(self, x: Tensor, at: Layout) -> Tensor:
        p = at.pos.shape[-1]
        if self.width % (2 * p):
            raise InputError(f"rope: {p} coordinates need a multiple of {2 * p} numbers per head, not {self.width}")
        cos, sin = at.derive(("rope", self.width, self.base, x.dtype), lambda: self._waves(at, x.dtype))
        if self.width == x.shape[-1]:
            return rotate(x, cos, sin, self.pairing)
        turned, rest = x[..., : self.width], x[..., self.width :]
        return torch.cat((rotate(turned, cos, sin, self.pairing), rest), -1)

    def _waves(self, at: Layout, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        turn = angles(at.pos, self.width, self.base)[:, None]  # (B|1, 1, T, width/2)
        return turn.cos().to(dtype), turn.sin().to(dtype)
