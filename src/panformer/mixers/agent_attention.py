"""Agent attention along a sequence: a few mean queries read all tokens, and every token reads them."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.layout import Layout
from ..core.part import Config as Base
from ..ops.conv import depthwise
from ..ops.landmarks import segment_means
from ._agents import Agents


class AgentAttention(Agents):
    """o(softmax(q a' / sqrt(E)) softmax(a k' / sqrt(E)) v + conv(v)), a the means of q over segments. Han et al. 2023.

    It is linear attention whose maps of queries and keys are softmax(q a') and softmax(a k')'. A sequence of n tokens
    has min(agents, n) agents, token t in segment floor(t m / n). `conv` is the width of a depthwise convolution along
    the values. The paper works on images: `agent_grid_attention`.
    """

    paper = "Han et al. 2023, Agent attention: on the integration of softmax and linear attention"
    examples = ({"heads": 2, "agents": 4}, {"heads": 4, "agents": 3, "conv": 5, "bias": True})

    class Config(Base):
        heads: int = Field(4, gt=0)
        agents: int = Field(16, gt=0)
        conv: int | None = Field(3, gt=0, description="odd: values that a token adds; null: none")
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c.heads, c.bias, c.conv, width)
        self.agents = c.agents
        self.kernel = nn.Parameter(torch.randn(width, c.conv) * c.conv**-0.5) if c.conv else None
        self.offset = nn.Parameter(torch.zeros(width)) if c.conv else None

    def pooled(self, at: Layout, like: Tensor) -> tuple[Tensor, Tensor | None]:
        return segment_means(at, self.agents, like.dtype)

    def near(self, v: Tensor, at: Layout) -> Tensor | float:
        return (
            0.0
            if self.kernel is None
            else depthwise(at.clean(v), self.kernel, self.offset, at, len(self.kernel[0]) // 2)
        )
