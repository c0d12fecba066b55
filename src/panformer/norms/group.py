"""Group normalisation with one group: all tokens and channels of a sequence together."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Norm
from ..core.layout import Layout
from ..core.part import Config as Base
from ..ops.segment import mean, spread


class Group(Norm):
    """(x - mean) / sqrt(variance + eps) * weight + bias, over all tokens and channels of one sequence.

    Exact per sequence in packed and padded batches. Wu & He 2018, with one group as in Yu et al. 2021 (PoolFormer).
    """

    paper = "Wu & He 2018, Group normalization"
    pointwise = False

    class Config(Base):
        eps: float = Field(1e-5, gt=0)

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.eps = c.eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, at: Layout) -> Tensor:
        wide = at.clean(x).to(torch.promote_types(x.dtype, torch.float32))
        centred = wide - spread(mean(wide.mean(-1, keepdim=True), at), at)
        variance = spread(mean(centred.square().mean(-1, keepdim=True), at), at)
        unit = centred * torch.rsqrt(variance + self.eps)
        return (unit * self.weight + self.bias).to(x.dtype)
