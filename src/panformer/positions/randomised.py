"""A bias that in training sees places drawn from a longer range, in order."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Position
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.score import Score


class Randomised(Position):
    """The bias `inside`; in training token t of n stands at the t-th smallest of n places drawn among 0 .. among - 1.

    So no distance of a longer sequence is new. Every sequence of a batch draws for itself, and all layers see the same
    draw; a layout that is used twice keeps it. Outside training places are what they are. Ruoss et al. 2023.
    """

    paper = "Ruoss et al. 2023, Randomized positional encodings boost length generalization of transformers"
    kind = "context"
    examples = ({"inside": "kerple", "among": 64},)

    class Config(Base):
        inside: Annotated[Base, Slot("positions")]
        among: int = Field(gt=0, description="places to draw from; longer sequences are not trained")

    def __init__(self, c: Config, heads: int, size: int, width: int) -> None:
        super().__init__()
        if c.inside.part.kind != "bias" or c.inside.part.lattice:
            raise InputError(f"randomised: {c.inside.part.use()!r} is no bias of distances along a sequence")
        self.among = c.among
        self.inside: Position = c.inside.build(heads, size)

    def bias(self) -> Score | None:
        return None if self.training else self.inside.bias()

    def context(self, q: Tensor, k: Tensor, marks: Tensor | None, q_at: Layout, k_at: Layout) -> Tensor | None:
        if not self.training:
            return None
        if q_at is not k_at:
            raise InputError("randomised: trains on whole sequences, not on pieces of them")
        there = q_at.derive(("drawn", self.among), lambda: _drawn(q_at, self.among))
        score = self.inside.bias()
        assert score is not None
        return score.value(there, there)


def _drawn(at: Layout, among: int) -> Layout:
    """The layout with a place of its own for every token, rising within a sequence."""
    if at.pos.shape[-1] != 1:
        raise InputError("randomised: tokens on a lattice have no order to draw places in")
    longest = at.longest
    if longest > among:
        raise InputError(f"randomised: a sequence of {longest} tokens cannot draw its places among {among}")
    order = torch.rand(at.sequences, among, device=at.device).argsort(-1).argsort(-1)
    every = torch.arange(among, device=at.device).expand_as(order)
    places = torch.where(order < at.lengths[:, None], every, among).sort(-1).values[:, :longest]  # (N, L)
    return Layout(at.seg.expand(at.batch, at.length), at.from_rows(places.clamp(max=among - 1)[..., None]))
