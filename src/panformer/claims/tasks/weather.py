"""Forecast real weather: hourly temperature, dew point, humidity and wind at an airport; mean squared error.

The series, its split by time and its standardisation are those of the built-in set `weather`; all variates
are forecast. Input values (B, T, 4), target (B, H, 4), lower is better.
"""

from __future__ import annotations

from functools import cache

import torch
from pydantic import Field

from ...data.base import Examples
from ...data.open import open_data
from ._base import Batch, Forecast, Options, draw


class Weather(Forecast):
    class Config(Options):
        lookback: int = Field(96, gt=1)
        horizon: int = Field(24, gt=0)

    def batch(self, rng, size):
        return self._take(_load(self.config.lookback, self.config.horizon)[0], rng, size)

    def test(self, rng, size):
        return self._take(_load(self.config.lookback, self.config.horizon)[1], rng, size)

    def _take(self, examples: Examples, rng: torch.Generator, size: int) -> Batch:
        chosen = draw(rng, 0, len(examples), size).tolist()
        assert examples.targets is not None
        x, y = (torch.stack([side[i] for i in chosen]) for side in (examples.inputs, examples.targets))
        return Batch(x, y=y)


@cache
def _load(lookback: int, horizon: int) -> tuple[Examples, Examples]:
    found = open_data("weather", lookback=lookback, horizon=horizon)
    return found.train, found.test
