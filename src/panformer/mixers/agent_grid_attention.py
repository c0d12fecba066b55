"""Agent attention on a lattice: agents are means of queries over blocks of cells, with biases for where they stand."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.layout import Layout
from ..core.part import Config as Base
from ..ops.lattice import resized
from ._agents import Agents

BLOCKS = 7  # cells on each side of the coarse table of a bias


class AgentGridAttention(Agents):
    """o(softmax(q a' / sqrt(E) + b_2) softmax(a k' / sqrt(E) + b_1) v + conv(v)) on a lattice. Han et al. 2023.

    Agents are the means of q over p x p blocks of cells, p^2 = `agents`; cell (r, c) of an h x w lattice belongs to
    block (floor(r p / h), floor(c p / w)). With `grid` each agent has two biases over the cells, a coarse table, a row
    and a column, all bilinear on lattices of another size. `conv` x `conv` is the depthwise kernel along the values.
    Public code pools overlapping blocks where p does not divide the lattice.
    """

    paper = "Han et al. 2023, Agent attention: on the integration of softmax and linear attention"
    lattice = True
    examples = ({"heads": 2, "agents": 4}, {"heads": 4, "agents": 9, "conv": None, "bias": True, "grid": (4, 5)})

    class Config(Base):
        heads: int = Field(4, gt=0)
        agents: int = Field(9, gt=0, description="a square number")
        conv: int | None = Field(3, gt=0, description="odd: cells along each axis whose values are added; null: none")
        grid: tuple[int, int] | None = Field(None, description="rows and columns that biases are for; null: no biases")
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c.heads, c.bias, c.conv, width)
        self.side = math.isqrt(c.agents)
        if self.side**2 != c.agents:
            raise InputError(f"agent_grid_attention: agents must be a square number, got {c.agents}")
        if c.grid is not None and min(c.grid) < 1:
            raise InputError(f"agent_grid_attention: grid must be two positive integers, got {c.grid}")
        self.kernel = nn.Parameter(torch.randn(width, 1, c.conv, c.conv) / c.conv) if c.conv else None
        self.offset = nn.Parameter(torch.zeros(width)) if c.conv else None
        self.gather = Cells(c.heads, c.agents, c.grid) if c.grid else None
        self.spread = Cells(c.heads, c.agents, c.grid) if c.grid else None

    def pooled(self, at: Layout, like: Tensor) -> tuple[Tensor, Tensor | None]:
        grid, side = _grid(at), self.side
        if min(grid) < side:
            raise InputError(
                f"agent_grid_attention: {side} x {side} agents on a lattice of {grid[0]} x {grid[1]} cells"
            )

        def make() -> Tensor:
            row, column = (torch.arange(n, device=at.device) * side // n for n in grid)
            block = (side * row[:, None] + column).flatten()
            own = (block == torch.arange(side**2, device=at.device)[:, None]).to(like.dtype)
            return (own / own.sum(-1, keepdim=True))[None, None]

        return at.derive(("agents", side, like.dtype), make), None

    def biases(self, at: Layout) -> tuple[Tensor, ...]:
        if self.gather is None or self.spread is None:
            return ()
        return self.gather(_grid(at)), self.spread(_grid(at)).mT

    def near(self, v: Tensor, at: Layout) -> Tensor | float:
        if self.kernel is None:
            return 0.0
        cells = v.unflatten(1, _grid(at)).movedim(-1, 1)  # a view with channels last
        y = F.conv2d(cells, self.kernel, self.offset, padding=self.kernel.shape[-1] // 2, groups=len(self.kernel))
        return y.movedim(1, -1).flatten(1, 2)


class Cells(nn.Module):
    """A logit for every head, agent and cell (H, M, h w): a coarse table, and one value per row and per column."""

    def __init__(self, heads: int, agents: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.heads, many = heads, heads * agents
        shapes = ((BLOCKS, BLOCKS), (grid[0], 1), (1, grid[1]))
        self.tables = nn.ParameterList(nn.Parameter(0.02 * torch.randn(*shape, many)) for shape in shapes)

    def forward(self, grid: tuple[int, int]) -> Tensor:
        block, row, column = self.tables
        rows, columns = resized(row, (grid[0], 1), "bilinear"), resized(column, (1, grid[1]), "bilinear")
        total = resized(block, grid, "bilinear") + (rows[:, None] + columns[None]).flatten(0, 1)  # (h w, H M)
        return total.T.unflatten(0, (self.heads, -1))


def _grid(at: Layout) -> tuple[int, int]:
    if at.grid is None or len(at.grid) != 2:
        raise InputError("agent_grid_attention: needs tokens on a lattice of two axes")
    return at.grid[0], at.grid[1]
