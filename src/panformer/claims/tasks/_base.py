"""What every task is: batches from a generator, a loss, and a measure on data that training never saw."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

SKIP = -100  # a position without an answer


class Batch(NamedTuple):
    """x: tokens (B, T) int64, values (B, T, C) or images (B, C, H, W); target as the task says; lengths (B,) or None."""

    x: Tensor
    target: Tensor
    lengths: Tensor | None = None


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Task:
    """A seeded problem. Subclasses nest a Config and say what a model must read and answer.

    Targets: class per position (B, T) or per sequence (B,), SKIP where nothing is asked; or numbers.
    """

    Config: ClassVar[type[Options]] = Options
    lower_is_better: ClassVar[bool] = False
    tests: ClassVar[int] = 512  # sequences in a test

    def __init__(self, config: Any) -> None:
        self.config = config

    def ends(self) -> dict[str, Any]:
        """Keys of a spec that this task fixes unless the model says otherwise: embed, head, causal."""
        raise NotImplementedError

    def batch(self, rng: torch.Generator, size: int) -> Batch:
        """Fresh training examples."""
        raise NotImplementedError

    def test(self, rng: torch.Generator, size: int) -> Batch:
        """Examples of the test, which may be harder (longer) than training."""
        return self.batch(rng, size)

    def loss(self, out: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy over what is asked. out (..., K)."""
        return F.cross_entropy(out.flatten(0, -2).float(), batch.target.flatten(), ignore_index=SKIP)

    def score(self, out: Tensor, batch: Batch) -> tuple[float, float]:
        """(sum, count) over the batch, of which the measure is the mean: right answers over questions."""
        asked = batch.target != SKIP
        return float((out.argmax(-1) == batch.target)[asked].sum()), float(asked.sum())

    @torch.no_grad()
    def measure(self, model: nn.Module, seed: int, size: int = 64) -> float:
        """The mean score on the test of this seed, which every arm shares."""
        rng = torch.Generator().manual_seed(5_000_000 + seed)
        model.eval()
        total = count = 0.0
        for _ in range(-(-self.tests // size)):
            batch = self.test(rng, size)
            got, asked = self.score(model(batch.x, batch.lengths), batch)
            total, count = total + got, count + asked
        return total / count

    @property
    def resolution(self) -> float:
        """The smallest step of the measure: one answer. 0 where it is continuous."""
        return 1.0 / self.tests

    def dump(self) -> dict[str, Any]:
        return {"use": type(self).__module__.rpartition(".")[2], **self.config.model_dump(mode="json")}


def draw(rng: torch.Generator, low: int, high: int, *shape: int) -> Tensor:
    """Integers from low to high - 1."""
    return torch.randint(low, high, shape, generator=rng)


def distinct(rng: torch.Generator, batch: int, among: int, count: int) -> Tensor:
    """(batch, count) different integers below `among` in each row."""
    return torch.rand(batch, among, generator=rng).argsort(-1)[:, :count]
