"""Linear regression in context: pairs (x, w.x) of a hidden w, then an x alone; answer its y. Squared error over its variance.

Garg et al. 2022, What can Transformers learn in-context? x and w are normal, drawn anew for every sequence; least squares
answers without error once there are as many pairs as `dims` and no noise. Guessing 0 has error 1. Input values (B, n + 1, d + 1).
"""

from __future__ import annotations

import torch
from pydantic import Field

from ._base import Batch, Options, Sized


class Regression(Sized):
    size = "pairs"

    class Config(Options):
        dims: int = Field(4, gt=0)
        pairs: int = Field(8, gt=0)
        test: int | None = Field(None, gt=0)
        noise: float = Field(0.0, ge=0, description="deviation of what is added to every y in the context")

    lower_is_better = True
    resolution = 0.0

    def ends(self):
        embed = {"use": "frames", "channels": self.config.dims + 1}
        return {"causal": True, "embed": embed, "head": {"use": "regress", "pool": "last"}}

    def objective(self):
        return "regress"

    def score(self, out, target):
        return float((out - target).square().sum()), float(len(target))

    def _make(self, rng: torch.Generator, size: int, pairs: int) -> Batch:
        dims = self.config.dims
        x = torch.randn(size, pairs + 1, dims, generator=rng)
        w = torch.randn(size, dims, 1, generator=rng) / dims**0.5
        y = x @ w  # (B, n + 1, 1), of variance 1
        told = y + self.config.noise * torch.randn(y.shape, generator=rng)
        told[:, -1] = 0
        return Batch(torch.cat([x, told], -1), y=y[:, -1, 0])
