"""The softmax over the channels of each head."""

from __future__ import annotations

from torch import Tensor

from ..core.families import Feature
from ..core.part import Config as Base


class Softmax(Feature):
    """exp(x_e) / sum_f exp(x_f)."""

    paper = "Zhang et al. 2025, SLA: beyond sparsity in diffusion transformers via fine-tunable sparse-linear attention"

    class Config(Base):
        pass

    def map(self, x: Tensor) -> Tensor:
        return x.softmax(-1)
