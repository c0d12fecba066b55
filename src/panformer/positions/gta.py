"""Queries, keys, values and answers moved by a group element of every token, so that only relative ones count."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Position
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot


class Gta(Position):
    """q_i' rho(g_i) rho(g_j)^-1 k_j, and rho(g_i) sum_j a_ij rho(g_j)^-1 v_j, rho made of blocks along the head width.

    The first `posed` of the width moves in blocks of 4 by the poses of tokens, homogeneous 4 x 4 matrices; the rest
    turns by their coordinates as the rotation `turn` says. Under poses that all change to g_i h nothing changes.
    Moving queries and keys alone, by coordinates alone, is `turn` itself. Miyato et al. 2023.
    """

    paper = "Miyato et al. 2023, GTA: a geometry-aware attention mechanism for multi-view transformers"
    kind = "group"
    examples = ({}, {"moves": "qk"})

    class Config(Base):
        posed: float = Field(0.0, ge=0, le=1, description="fraction of the head width that poses move")
        turn: Annotated[Base, Slot("positions")] = Field("rope", validate_default=True)
        moves: Literal["qk", "qkv"] = "qkv"

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__()
        if c.turn.part.kind != "rotate":
            raise InputError(f"gta: {c.turn.part.use()!r} does not turn queries and keys")
        self.moves, self.width = c.moves, round(c.posed * size)
        if self.width % 4:
            raise InputError(f"gta: {self.width} of {size} numbers per head are no blocks of 4")
        self.turn: Position | None = c.turn.build(heads, size - self.width) if size > self.width else None

    def rotate(self, x: Tensor, at: Layout) -> Tensor:
        return self.key(x, at)

    def query(self, x: Tensor, at: Layout) -> Tensor:
        return self._moved(x, self._pose(at).mT, at)

    def key(self, x: Tensor, at: Layout) -> Tensor:
        return self._moved(x, at.derive(("pose undone", self.width > 0), lambda: _inverse(self._pose(at))), at)

    def value(self, x: Tensor, at: Layout) -> Tensor:
        return self.key(x, at) if self.moves == "qkv" else x

    def back(self, x: Tensor, at: Layout) -> Tensor:
        if self.moves == "qk":
            return x
        return self._moved(x, self._pose(at), at.derive("turned back", lambda: Layout(at.seg, -at.pos)))

    def _moved(self, x: Tensor, pose: Tensor, at: Layout) -> Tensor:
        """x (B, H, T, E): blocks of 4 times pose (B, T, 4, 4), and the rest turned by where `at` says."""
        blocks, rest = x[..., : self.width], x[..., self.width :]
        if self.width:
            blocks = blocks.unflatten(-1, (-1, 4))  # (B, H, T, n, 4)
            blocks = (blocks @ pose.to(x.dtype).mT[:, None]).flatten(-2)
        return torch.cat([blocks, rest if self.turn is None else self.turn.rotate(rest, at)], -1)

    def _pose(self, at: Layout) -> Tensor:
        if not self.width:
            return at.derive("no pose", lambda: torch.eye(4).expand(1, 1, 4, 4))
        if at.pose is None:
            raise InputError("gta: tokens have no poses here; the embed 'posed' reads them")
        return at.pose


def _inverse(pose: Tensor) -> Tensor:
    return torch.linalg.inv(pose.to(torch.promote_types(pose.dtype, torch.float32)))
