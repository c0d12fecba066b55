"""Forecast series that follow their neighbour with a delay; mean squared error, lower is better.

y_0 is a random walk, y_c(t) = coupling y_{c-1}(t - horizon) + (1 - coupling) w_c(t) with walks w_c of their
own, all seen under white noise. What a variate does next stands in the past of its neighbour, so mixing
variates must pay; with `coupling: 0` it cannot. Input values (B, T, C), target (B, H, C).
"""

from __future__ import annotations

import math

import torch
from pydantic import Field

from ._base import Batch, Forecast, Options, Sized


class Lagged(Forecast, Sized):
    size = "variates"

    class Config(Options):
        variates: int = Field(8, ge=2)
        test: int | None = Field(None, ge=2, description="variates in the test, as in training by default")
        lookback: int = Field(48, gt=1)
        horizon: int = Field(8, gt=0)
        coupling: float = Field(0.8, ge=0, le=1)
        noise: float = Field(0.1, ge=0)

    def _make(self, rng: torch.Generator, size: int, variates: int) -> Batch:
        c = self.config
        total, lead = c.lookback + c.horizon, c.horizon * variates  # the lead hides where shifts wrap around
        walks = torch.randn(variates, size, total + lead, generator=rng).cumsum(-1) / math.sqrt(total + lead)
        series = [walks[0]]
        for walk in walks[1:]:
            series.append(c.coupling * torch.roll(series[-1], c.horizon, -1) + (1 - c.coupling) * walk)
        seen = torch.stack(series, -1)[:, lead:]
        seen = seen + c.noise * torch.randn(seen.shape, generator=rng)
        return Batch(seen[:, : c.lookback], y=seen[:, c.lookback :])
