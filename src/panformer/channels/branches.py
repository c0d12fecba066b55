"""Several channel parts of one config side by side."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ..core.families import Channel
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.shared import Shared


class Branches(Channel):
    """sum_i f_i(x), the f_i of one config with weights of their own: (B, T, D) -> (B, T, D). Touvron et al. 2022."""

    paper = "Touvron et al. 2022, Three things everyone should know about vision Transformers"
    examples = ({}, {"channel": {"use": "glu", "hidden": 12}, "count": 3})

    class Config(Base):
        channel: Annotated[Base, Slot("channels")] = Field("mlp", validate_default=True)
        count: int = Field(2, gt=0, description="branches")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        made = [c.channel.build(width) for _ in range(c.count)]
        self.each, self.couples = nn.ModuleList(made), made[0].couples

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        answers = [channel(x, at, shared) for channel in self.each]
        out: Tensor = sum(answers[1:], answers[0])
        return out
