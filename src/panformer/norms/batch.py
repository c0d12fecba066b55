"""Batch normalisation: every channel alone, over all tokens of the batch."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from ..core.families import Norm
from ..core.layout import Layout
from ..core.part import Config as Base


class Batch(Norm):
    """(x - mean) / sqrt(variance + eps) * weight + bias, over the real tokens of a batch, for each channel.

    In evaluation mean and variance are those that training has seen, and every token is normalised alone; in training
    the rows of a batch depend on each other. Ioffe & Szegedy 2015.
    """

    paper = "Ioffe & Szegedy 2015, Batch normalization: accelerating deep network training"
    counts: ClassVar[bool] = True

    class Config(Base):
        eps: float = Field(1e-5, gt=0)
        momentum: float = Field(0.1, gt=0, le=1, description="share of the newest batch in what evaluation uses")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width, c.eps, c.momentum)

    def forward(self, x: Tensor, at: Layout) -> Tensor:
        if at.full or not self.training:
            return self.norm(at.clean(x).flatten(0, -2)).view(x.shape)
        out = x.new_zeros(x.shape)
        real = x[at.valid]  # whose last axis are the channels, heads or not
        out[at.valid] = self.norm(real.flatten(0, -2)).view(real.shape)
        return out
