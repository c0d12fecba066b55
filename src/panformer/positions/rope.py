"""Rotary positions."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Position
from ..core.layout import Layout
from ..core.part import Config as Base
from ..ops.rotary import Pairing, Stretch, angles, rotate, waves


class Rope(Position):
    """R(t) x: pairs of numbers turned by t base^(-2i / width), so that R(s)q . R(t)k depends on t - s alone.

    With P coordinates each turns an equal part of the pairs. `partial` of the width is turned, the rest is left
    as it is. `half` pairs i with i + width/2 (Llama), `interleaved` 2i with 2i + 1 (RoFormer): the same map up
    to a permutation of the width. With `factor` f, pairs that turn fewer than `low` times in `trained` positions turn f
    times more slowly, those that turn more than `high` times as they are, the others between; without `trained` all
    turn more slowly. Su et al. 2021; Chen et al. 2023 (factor); Grattafiori et al. 2024 (trained).
    """

    paper = "Su et al. 2021, RoFormer: enhanced transformer with rotary position embedding"
    kind = "rotate"
    examples = (
        {},
        {"pairing": "interleaved"},
        {"partial": 0.5, "base": 500.0},
        {"factor": 2.0},
        {"factor": 4.0, "trained": 32, "low": 0.5, "high": 3.0},
    )

    class Config(Base):
        base: float = Field(10_000.0, gt=1)
        partial: float = Field(1.0, gt=0, le=1, description="fraction of the head width that is turned")
        pairing: Pairing = "half"
        factor: float = Field(1.0, ge=1, description="by how much the length outgrows what was trained")
        trained: int | None = Field(None, gt=0, description="positions in training; null: all pairs slow down alike")
        low: float = Field(1.0, gt=0, description="turns in training under which a pair slows down in full")
        high: float = Field(4.0, gt=0, description="turns in training over which it does not")

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__()
        self.base, self.pairing = c.base, c.pairing
        self.stretch = Stretch(c.factor, c.trained, c.low, c.high) if c.factor != 1 else None
        self.width = round(c.partial * size)
        if c.low >= c.high:
            raise InputError(f"rope: low {c.low} must be under high {c.high}")
        if self.width % 2:
            raise InputError(f"rope: {self.width} of {size} numbers per head cannot be paired; it must be even")

    def rotate(self, x: Tensor, at: Layout) -> Tensor:
        p = at.pos.shape[-1]
        if self.width % (2 * p):
            raise InputError(f"rope: {p} coordinates need a multiple of {2 * p} numbers per head, not {self.width}")
        cos, sin = at.derive(
            ("rope", self.width, self.base, self.stretch, self.pairing, x.dtype), lambda: self._waves(at, x.dtype)
        )
        if self.width == x.shape[-1]:
            return rotate(x, cos, sin, self.pairing)
        turned, rest = x[..., : self.width], x[..., self.width :]
        return torch.cat((rotate(turned, cos, sin, self.pairing), rest), -1)

    def _waves(self, at: Layout, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        turn = angles(at.pos, self.width, self.base, self.stretch)[:, None]  # (B|1, 1, T, width/2)
        return waves(turn, self.pairing, dtype)
