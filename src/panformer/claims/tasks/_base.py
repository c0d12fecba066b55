"""What every task is: batches from a generator, a loss, and a measure on data that training never saw."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.nn import functional as F

from ...core import layout, part
from ...core.families import Objective
from ...model.model import Model
from ...train.given import given

SKIP = -100  # a position without an answer


class Batch(NamedTuple):
    """x: tokens (B, T) int64, values (B, T, C) or images (B, C, H, W); lengths (B,) or None; y as the objective reads it.

    `source` is what an encoder reads, in a layout of its own, and x then what the decoder reads.
    """

    x: Tensor
    lengths: Tensor | None = None
    y: Tensor | None = None
    source: layout.Batch | None = None


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Task:
    """A seeded problem: what a model must read and answer, fresh examples, and a measure on unseen ones.

    Subclasses nest a Config. With the `classify` objective y is a class per position (B, T) or per sequence
    (B,), SKIP where nothing is asked.
    """

    Config: ClassVar[type[Options]] = Options
    tests: int = 512  # sequences in a test
    lower_is_better: bool = False
    later: ClassVar[frozenset[str]] = frozenset({"test"})  # options that only the test reads

    def __init__(self, config: Any) -> None:
        self.config = config
        self.goal: Objective = part.config("objectives", self.objective()).build()

    def ends(self) -> dict[str, Any]:
        """Keys of a spec that this task fixes unless the model says otherwise: embed, head, causal."""
        raise NotImplementedError

    def objective(self) -> str | dict[str, Any]:
        """What is trained, and in what form the test asks."""
        return "classify"

    def batch(self, rng: torch.Generator, size: int) -> Batch:
        """Fresh training examples."""
        raise NotImplementedError

    def test(self, rng: torch.Generator, size: int) -> Batch:
        """Examples of the test, which may be harder (longer) than training."""
        return self.batch(rng, size)

    def score(self, out: Tensor, target: Tensor) -> tuple[float, float]:
        """(sum, count) over a batch, of which the measure is the ratio: right answers over questions."""
        asked = target != SKIP
        return float((out.argmax(-1) == target)[asked].sum()), float(asked.sum())

    @torch.no_grad()
    def measure(self, model: Model, seed: int, size: int = 64) -> float:
        """The mean score on the test of this seed, which every arm shares."""
        rng = torch.Generator().manual_seed(5_000_000 + seed)
        model.eval()
        total = count = 0.0
        for _ in range(-(-self.tests // size)):
            batch = self.test(rng, min(size, self.tests))
            read, target = given(self.goal, batch, rng, batch.x.device)
            got, asked = self.score(model(*read), target)
            total, count = total + got, count + asked
        return total / count

    @property
    def resolution(self) -> float:
        """The smallest step of the measure: one answer. 0 where it is continuous."""
        return 1.0 / self.tests

    @property
    def unit(self) -> str:
        """The measure in words."""
        if not self.lower_is_better:
            return "share of right answers"
        return "bits" if type(self).__module__.endswith("text") else "error"

    def dump(self) -> dict[str, Any]:
        return {"use": type(self).__module__.rpartition(".")[2], **self.config.model_dump(mode="json")}

    def training(self) -> dict[str, Any]:
        """`dump` without what only the test reads: tasks that are alike in this train the same model."""
        return {key: value for key, value in self.dump().items() if key not in self.later}


class Forecast(Task):
    """A task that foretells `horizon` steps of series, of which a model reads `lookback`; mean squared error."""

    lower_is_better = True
    resolution = 0.0

    def ends(self) -> dict[str, Any]:
        c = self.config
        return {
            "embed": {"use": "variates", "length": c.lookback},
            "head": {"use": "forecast", "horizon": c.horizon, "pool": "token"},
        }

    def objective(self) -> str:
        return "forecast"

    def score(self, out: Tensor, target: Tensor) -> tuple[float, float]:
        known = ~target.isnan()
        return float((out - target)[known].square().sum()), float(known.sum())


class Sized(Task):
    """A task whose examples have one size, the option `size`; the test's may be another, the option `test`."""

    size: ClassVar[str]

    def batch(self, rng: torch.Generator, size: int) -> Batch:
        return self._make(rng, size, getattr(self.config, self.size))

    def test(self, rng: torch.Generator, size: int) -> Batch:
        return self._make(rng, size, self.config.test or getattr(self.config, self.size))

    def _make(self, rng: torch.Generator, size: int, examples_size: int) -> Batch:
        raise NotImplementedError


@dataclass
class Feed:
    """A task as the training loop reads it: fresh batches for ever, resumable."""

    task: Task
    size: int
    rng: torch.Generator

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.task.batch(self.rng, self.size)

    def state(self) -> dict[str, Any]:
        return {"rng": self.rng.get_state().tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        self.rng.set_state(torch.tensor(state["rng"], dtype=torch.uint8))


def bits(out: Tensor, target: Tensor) -> tuple[float, float]:
    """(bits, how many answers) of a batch: out (..., K), target (...) with SKIP."""
    nats = F.cross_entropy(out.flatten(0, -2).float(), target.flatten(), ignore_index=SKIP, reduction="sum")
    return float(nats) / math.log(2), float((target != SKIP).sum())


def exact(out: Tensor, target: Tensor) -> tuple[float, float]:
    """(sequences without a wrong answer, how many there are): out (B, T, K), target (B, T) with SKIP."""
    right = (out.argmax(-1) == target) | (target == SKIP)
    return float(right.all(-1).sum()), float(len(right))


def tokens(vocab: int, classes: int | None = None, causal: bool = True) -> dict[str, Any]:
    """Ends for tokens in and a class at every token out."""
    head = {"use": "tag", "classes": classes or vocab}
    return {"causal": causal, "embed": {"use": "tokens", "vocab": vocab}, "head": head}


def draw(rng: torch.Generator, low: int, high: int, *shape: int) -> Tensor:
    """Integers from low to high - 1."""
    return torch.randint(low, high, shape, generator=rng)


def distinct(rng: torch.Generator, batch: int, among: int, count: int) -> Tensor:
    """(batch, count) different integers below `among` in each row."""
    return torch.rand(batch, among, generator=rng).argsort(-1)[:, :count]
