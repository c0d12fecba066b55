"""No channel mixer."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.families import Channel
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared


class NoChannel(Channel):
    """0: a residual layer passes its stream on unchanged."""

    class Config(Base):
        pass

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        return torch.zeros_like(x)
