"""Sublayers whose answers are joined to the stream by a gate, as a GRU joins its input to its state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import Branch, Normal, Residual, linear, whole
from ..core.layout import Layout
from ..core.part import Config as Base
from ..ops.dropout import dropout


class Gru(Residual):
    """x <- (1 - z) x + z tanh(W_g y + U_g (r x)), y = relu(f(norm(x))), for each branch in turn.

    r = sigmoid(W_r y + U_r x), z = sigmoid(W_z y + U_z x - b), b one number per channel. A large b makes a layer the
    identity at the start. Parisotto et al. 2019, GTrXL.
    """

    paper = "Parisotto et al. 2019, Stabilizing Transformers for reinforcement learning"
    examples = ({}, {"start": 0.5})

    class Config(Base):
        start: float = Field(2.0, description="b at the start")
        dropout: float = Field(0.0, ge=0, lt=1, description="of a branch's answer")

    def __init__(self, c: Config, width: int, norm: Base, branches: int) -> None:
        super().__init__(c, width, norm, branches)
        self.dropout = c.dropout
        self.norms = nn.ModuleList(norm.build(width) for _ in range(branches))
        self.gates = nn.ModuleList(Gate(width, c.start) for _ in range(branches))

    def forward(self, x: Tensor, at: Layout, branches: Sequence[Branch], normal: Normal = whole) -> Tensor:
        for norm, gate, branch in zip(self.norms, self.gates, branches, strict=True):
            x = gate(at.clean(x), dropout(F.relu(branch(normal(norm, x, at))), self.dropout, self.training))
        return x


class Gate(nn.Module):
    """(x, y) -> (1 - z) x + z h, both (B, T, D)."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.new, self.old = linear(width, 3 * width, False), linear(width, 2 * width, False)
        self.kept = linear(width, width, False)
        self.start = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        r, z, h = self.new(y).chunk(3, -1)
        kept, closed = self.old(x).chunk(2, -1)
        z = torch.sigmoid(z + closed - self.start)
        return (1 - z) * x + z * torch.tanh(h + self.kept(torch.sigmoid(r + kept) * x))
