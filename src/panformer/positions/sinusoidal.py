"""Fixed waves added to the input."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Position
from ..core.layout import Layout
from ..core.part import Config as Base
from ..ops.rotary import sinusoid


class Sinusoidal(Position):
    """x + [sin(t r_0), cos(t r_0), sin(t r_1), ...], r_i = base^(-2i / width), t the position.

    With P coordinates each gets an equal part of the width. Tables of tokens take `scale: true` beside it, so that
    their vectors are as large as these. Vaswani et al. 2017.
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
        wave = at.derive(("sinusoidal", self.size, self.base), lambda: sinusoid(at.pos, self.size, self.base))
        return x + wave.to(x.dtype)
