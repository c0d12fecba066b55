"""Group normalisation by the tokens so far."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Norm
from ..core.layout import Layout
from ..core.part import Config as Base


class Timestep(Norm):
    """(x_t - mean_t) / sqrt(variance_t + eps) * weight + bias, over the channels of a group in tokens 1 .. t.

    The variance is that of all these numbers, within tokens too. A stream carries how many tokens there were and, for
    each group, sums of its means and mean squares, in float64: there the difference of the two is exact enough. Ma et
    al. 2024.
    """

    paper = "Ma et al. 2024, Megalodon: efficient LLM pretraining and inference with unlimited context length"
    pointwise = False
    streams: ClassVar[bool] = True
    examples = ({}, {"groups": 1, "eps": 1e-3})

    class Config(Base):
        groups: int = Field(4, gt=0, description="sets of channels that are normalised together")
        eps: float = Field(1e-5, gt=0)

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        if width % c.groups or width == c.groups:
            raise InputError(f"timestep: width {width} does not divide into {c.groups} groups of at least 2 channels")
        self.groups, self.eps = c.groups, c.eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, at: Layout) -> Tensor:
        own = self._own(x, at)
        return self._normalise(x, at, at.from_rows(at.to_rows(own).cumsum(1)))

    def start(self, batch: int, like: Tensor) -> Tensor:
        return like.new_zeros(batch, 1 + 2 * self.groups, dtype=torch.float64)

    def chunk(self, x: Tensor, at: Layout, state: Tensor) -> tuple[Tensor, Tensor]:
        sums = state[:, None] + self._own(x, at).cumsum(1)
        return self._normalise(x, at, sums), sums[:, -1]

    def _own(self, x: Tensor, at: Layout) -> Tensor:
        """(B, T, 1 + 2 G): 1, and the mean and the mean square of every group; 0 at padding."""
        x = at.clean(x).double().unflatten(-1, (self.groups, -1))
        one = at.valid.expand(x.shape[:2])[..., None].double()
        return torch.cat((one, x.mean(-1), x.square().mean(-1)), -1)

    def _normalise(self, x: Tensor, at: Layout, sums: Tensor) -> Tensor:
        count, mean, square = sums.split((1, self.groups, self.groups), -1)
        mean, square = mean / count.clamp_min(1), square / count.clamp_min(1)
        scale = torch.rsqrt((square - mean.square()).clamp_min(0) + self.eps)
        wide = at.clean(x).to(torch.promote_types(x.dtype, torch.float32))
        unit = wide.unflatten(-1, (self.groups, -1)) - mean[..., None].to(wide.dtype)
        return ((unit * scale[..., None].to(wide.dtype)).flatten(-2) * self.weight + self.bias).to(x.dtype)
