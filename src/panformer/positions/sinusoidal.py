"""Fixed waves added to the input."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Position
from ..core.layout import Layout
from ..core.part import Config as Base
from ..ops.rotary import angles


class Sinusoidal(Position):
    """x + [sin(t r_0), cos(t r_0), sin(t r_1), ...], r_i = base^(-2i / width), t the position.

    With P coordinates each gets an equal part of the width. Vaswani et al. 2017.
    """

    paper = "Vaswani et al. 2017, Attention is all you need"
    kind = "add"

    class Config(Base):
        base: float = Field(10_000.0, gt=1)

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__()
        self.base, self.size = c.base, size

    def add(self, x: Tensor, at: Layout) -> Tensor:
        p = at.pos.shape[-1]
        if self.size % (2 * p):
            raise InputError(f"sinusoidal: width {self.size} is not a multiple of {2 * p}, which {p} coordinates need")
        wave = at.derive(("sinusoidal", self.size, self.base), lambda: self._wave(at))
        return x + wave.to(x.dtype)

    def _wave(self, at: Layout) -> Tensor:
        turn = angles(at.pos, self.size, self.base)
        return torch.stack((turn.sin(), turn.cos()), -1).flatten(-2)
