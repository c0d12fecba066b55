"""What tasks share that train on strings of `low` to `high` symbols and test on strings of one length."""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ._base import Batch, Options, Task, draw, exact


class Ranged(Task):
    class Config(Options):
        vocab: int = Field(ge=2)
        low: int = Field(2, gt=0)
        high: int = Field(gt=0)
        test: int | None = Field(None, gt=0, description="length in the test, `high` by default")
        score: str = Field("symbol", pattern="^(symbol|string)$", description="share of symbols, or of whole strings")

        @model_validator(mode="after")
        def _ordered(self):
            if self.low > self.high:
                raise ValueError("low is above high")
            return self

    later = frozenset({"test", "score"})

    def batch(self, rng, size):
        return self._make(rng, draw(rng, self.config.low, self.config.high + 1, size))

    def test(self, rng, size):
        return self._make(rng, torch.full((size,), self.config.test or self.config.high))

    def score(self, out, target):
        return super().score(out, target) if self.config.score == "symbol" else exact(out, target)

    def _make(self, rng: torch.Generator, lengths: Tensor) -> Batch:
        raise NotImplementedError
