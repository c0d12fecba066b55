"""Layer normalisation that turns into batch normalisation while it trains."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Norm
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import config


class ProgressiveBatch(Norm):
    """gamma LN(x) + (1 - gamma) (BN(x) + eta x), gamma = max(0, 1 - seen / steps). Guo et al. 2024, SLAB.

    `seen` counts the calls in training and is saved with the model; eta is learned, 1 at the start. Once gamma is 0 the
    answer in evaluation is `affine`, one factor and one offset for each channel, which a linear map behind it can take
    over. Before that, evaluation has the gamma that training has reached.
    """

    paper = "Guo et al. 2024, SLAB: efficient transformers with simplified linear attention and progressive batch norm"
    counts: ClassVar[bool] = True
    examples = ({}, {"steps": 7})

    class Config(Base):
        steps: int = Field(1000, gt=0, description="calls in training until only batch normalisation is left")
        eps: float = Field(1e-5, gt=0)
        momentum: float = Field(0.1, gt=0, le=1, description="share of the newest batch in what evaluation uses")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.layer: Norm = config("norms", {"use": "layer", "eps": c.eps}).build(width)
        self.batch: Norm = config("norms", {"use": "batch", "eps": c.eps, "momentum": c.momentum}).build(width)
        self.eta = nn.Parameter(torch.ones(()))
        self.steps = c.steps
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.seen: Tensor

    @property
    def gamma(self) -> Tensor:
        """The share of layer normalisation, from 1 to 0."""
        return (1 - self.seen / self.steps).clamp(min=0)

    def forward(self, x: Tensor, at: Layout) -> Tensor:
        gamma = self.gamma.to(x.dtype)
        if self.training:
            self.seen += 1
        return gamma * self.layer(x, at) + (1 - gamma) * (self.batch(x, at) + self.eta * at.clean(x))

    def affine(self) -> tuple[Tensor, Tensor]:
        """(factor, offset), (width,) each: in evaluation BN(x) + eta x = factor x + offset."""
        inner: Any = self.batch.norm
        factor = inner.weight / (inner.running_var + inner.eps).sqrt()
        return factor + self.eta, inner.bias - factor * inner.running_mean
