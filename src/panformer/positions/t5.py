"""A learned bias per bucket of distance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Position
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.score import Score, distance
from ._relative import once


class T5(Position):
    """table[bucket(i - j)]_h: one bucket per small distance, wider and wider ones up to `reach`, then one for the rest.

    `two_sided` gives each direction half of the buckets; without it all keys after the query share the bucket
    of distance 0. Raffel et al. 2019.
    """

    paper = "Raffel et al. 2019, Exploring the limits of transfer learning with a unified text-to-text transformer"
    kind = "bias"
    examples = ({"buckets": 8, "reach": 12}, {"buckets": 8, "reach": 12, "two_sided": False})

    class Config(Base):
        buckets: int = Field(32, gt=3)
        reach: int = Field(128, gt=1, description="distance from which all share the last bucket")
        two_sided: bool = True

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__()
        if c.two_sided and c.buckets % 2:
            raise InputError(f"t5: {c.buckets} buckets cannot be halved for two sides")
        near = c.buckets // (4 if c.two_sided else 2)
        if c.reach <= near:
            raise InputError(f"t5: reach {c.reach} must be over {near}, up to where every distance has its own bucket")
        self.reach, self.two_sided = c.reach, c.two_sided
        self.table = nn.Parameter(torch.empty(c.buckets, heads))
        nn.init.normal_(self.table, std=0.02)

    def bias(self) -> Score:
        return Buckets(self.table, self.reach, self.two_sided)


@dataclass(frozen=True, eq=False)
class Buckets(Score):
    relative = True
    table: Tensor  # (buckets, H)
    reach: int
    two_sided: bool

    def value(self, q: Layout, k: Layout) -> Tensor:
        q, k = once(q, k)
        if q is k:
            index = q.derive(("t5", len(self.table), self.reach, self.two_sided), lambda: self._index(q, k))
        else:
            index = self._index(q, k)
        return F.embedding(index, self.table).permute(0, 3, 1, 2)

    def _index(self, q: Layout, k: Layout) -> Tensor:
        return bucket(distance(q, k)[:, 0], len(self.table), self.reach, self.two_sided)


def bucket(apart: Tensor, buckets: int, reach: int, two_sided: bool) -> Tensor:
    """Query position minus key position -> bucket, int64 in 0 .. buckets-1. In float32, as the published models."""
    first = torch.zeros_like(apart)
    if two_sided:
        buckets //= 2
        first = torch.where(apart < 0, buckets, 0)
        apart = apart.abs()
    apart = apart.clamp(min=0)
    near = buckets // 2
    wide = torch.log(apart.clamp(min=near).float() / near) / math.log(reach / near) * (buckets - near)
    far = (near + wide.long()).clamp(max=buckets - 1)
    return first + torch.where(apart < near, apart, far)
