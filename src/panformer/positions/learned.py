"""A learned vector per place, added to the input."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Position
from ..core.layout import Layout
from ..core.part import Config as Base


class Learned(Position):
    """x + table[t + offset]. t is the position; on a lattice, the order of the token in its sequence (raster order).

    The first `offset` rows stand for no place, as in tables that keep one for padding (Liu et al. 2019). A place
    past the table is refused. Gehring et al. 2017; Devlin et al. 2018; Dosovitskiy et al. 2020.
    """

    paper = "Gehring et al. 2017, Convolutional sequence to sequence learning"
    kind = "add"
    examples = ({"length": 64}, {"length": 64, "offset": 2})

    class Config(Base):
        length: int = Field(512, gt=0, description="places in the table")
        offset: int = Field(0, ge=0, description="rows of the table before the first place")

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__()
        self.length, self.offset = c.length, c.offset
        self.table = nn.Parameter(torch.empty(c.offset + c.length, size))
        nn.init.normal_(self.table, std=0.02)

    def add(self, x: Tensor, at: Layout) -> Tensor:
        place, last = at.derive("place", lambda: _place(at))
        if last >= self.length:
            raise InputError(f"learned positions: place {last} is past the table of length {self.length}")
        return x + F.embedding(place + self.offset if self.offset else place, self.table)


def _place(at: Layout) -> tuple[Tensor, int]:
    """((B|1, T) row of the table, the largest of them)."""
    if at.pos.shape[-1] == 1:
        place = at.pos[..., 0]
        place = place[:1] if place.stride(0) == 0 else place
    elif at.full:
        place = torch.arange(at.length, device=at.device)[None]
    else:
        index = torch.arange(at.length, device=at.device).expand(at.batch, -1)
        first = torch.where(at.starts, index, 0).cummax(1).values
        place = torch.where(at.valid, index - first, 0)
    traced = torch.compiler.is_compiling()  # then no number is known; what is past the table fails in the look-up
    return place, at.length - 1 if traced else int(place.max())
