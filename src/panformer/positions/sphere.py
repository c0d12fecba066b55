"""Queries and keys of length 1, compared channel by channel in learned shares."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Position
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot


class Sphere(Position):
    """(s N(R q)) . (s N(R k)), N(x) = x / |x|, R the turn of `inside`, s learned per head and channel, 1 at the start.

    Both shares stand with the query, which so may have more heads than the keys. s = pace * a with a = 1 / pace at the
    start, so that Adam moves it `pace` times as far. With this attention's `scale` is sqrt(head width), not its
    inverse. Loshchilov et al. 2024, nGPT.
    """

    paper = "Loshchilov et al. 2024, nGPT: normalized Transformer with representation learning on the hypersphere"
    kind = "group"
    common = False
    examples = ({}, {"inside": None, "pace": 4.0}, {"inside": {"use": "rope", "pairing": "interleaved"}})

    class Config(Base):
        inside: Annotated[Base | None, Slot("positions")] = Field("rope", validate_default=True)
        pace: float = Field(1.0, gt=0, description="nGPT: the square root of the model's width")

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__()
        if c.inside is not None and c.inside.part.kind != "rotate":
            raise InputError(f"sphere: {c.inside.part.use()!r} does not turn queries and keys")
        self.inside: Position | None = c.inside.build(heads, size) if c.inside is not None else None
        self.pace = c.pace
        self.a = nn.Parameter(torch.full((heads, size), 1 / c.pace))

    def rotate(self, x: Tensor, at: Layout) -> Tensor:
        return F.normalize(x if self.inside is None else self.inside.rotate(x, at), dim=-1)

    def query(self, x: Tensor, at: Layout) -> Tensor:
        return self.rotate(x, at) * (self.pace * self.a).square()[:, None]
