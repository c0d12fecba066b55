"""Aaren: attention whose query is a parameter of the layer, so that it is a recurrence with a state of constant size."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.online_softmax import OnlineSoftmax
from ..ops.prefix_softmax import nothing, prefix_softmax


class Aaren(Mixer):
    """o(sum_{j<=i} softmax_j(query . k_j / sqrt(E)) v_j), one learned query per head. Feng et al. 2024.

    The paper maps a learned token by W_q to the query; as the token meets nothing else, that is one vector.
    """

    paper = "Feng et al. 2024, Attention as an RNN"
    causal = True
    examples = ({"heads": 2}, {"heads": 4, "bias": True})

    class Config(Base):
        heads: int = Field(4, gt=0)
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.heads, self.size = c.heads, head_width(self, width, c.heads)
        self.query = nn.Parameter(torch.randn(c.heads, self.size))
        self.k, self.v, self.o = (linear(width, width, c.bias) for _ in range(3))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        live, reset = (None, None) if at.full else (at.valid, at.starts)
        return self._mix(at.clean(x), live, reset, self.start(len(x), x))[0]

    def start(self, batch: int, like: Tensor) -> OnlineSoftmax:
        return nothing(batch, self.heads, self.size, like)

    def chunk(self, x, at, state, shared=None):
        return self._mix(at.clean(x), None if at.full else at.valid, None, state)

    def _mix(
        self, x: Tensor, live: Tensor | None, reset: Tensor | None, state: OnlineSoftmax
    ) -> tuple[Tensor, OnlineSoftmax]:
        k, v = (f(x).unflatten(-1, (self.heads, -1)) for f in (self.k, self.v))
        score = (k * self.query).sum(-1) * self.size**-0.5
        y, state = prefix_softmax(score, v, live, reset, state)
        return self.o(y.flatten(-2)), state
