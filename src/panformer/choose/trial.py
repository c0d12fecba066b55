"""One training run of one choice: the unit that probes, search and finalists are made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..core.part import digest
from ..data.base import Dataset, Examples
from ..data.batch import Batches
from ..data.open import open_data
from ..measure.quality import quality, window
from ..model.build import build
from ..model.model import Model
from ..train.loop import Fit, Train, fit
from . import forms

CHECKS = 8  # validations of a training run
LEAST = 24  # steps under which a training run says nothing
PROBE = 10  # steps of a probe
POINTS = 60  # of a learning curve that is kept
WINDOW = 256  # ids of a text that are read at a time
ROWS, IDS = 1000, 12_000  # of the validation split that a trial is judged on

Choice = Mapping[str, Any]


def opened(source: str, wishes: Mapping[str, Any]) -> Dataset:
    """`open_data`, with the window that texts are read in as the task's length."""
    data = open_data(source, **wishes)
    if data.task.kind != "language":
        return data
    return replace(data, task=replace(data.task, max_length=min(WINDOW, data.task.max_length)))


@dataclass(frozen=True)
class Pace:
    """Seconds of one training step and of one validation."""

    step: float
    check: float

    def steps(self, seconds: float) -> int:
        """How many training steps fit, validations counted in."""
        return max(LEAST, int((seconds - CHECKS * self.check) / self.step))

    def seconds(self, steps: int, checks: int) -> float:
        return steps * self.step + checks * self.check


def seed_of(*names: Any) -> int:
    """A seed that these names decide, so that no two units share one."""
    return int(digest(list(names))[:7], 16)


def judged(data: Dataset) -> Dataset:
    """The data with a validation split small enough to be asked often: every so-manyth example."""
    valid = data.valid
    if data.task.kind == "language":
        kept = _stretches(valid, data.task.max_length)
        return replace(data, valid=kept) if kept is not None else data
    if len(valid) <= ROWS:
        return data
    rows = np.linspace(0, len(valid) - 1, ROWS).astype(int).tolist()
    assert valid.targets is not None
    few = Examples([valid.inputs[i] for i in rows], [valid.targets[i] for i in rows], [valid.source[i] for i in rows])
    return replace(data, valid=few)


def amount(examples: Examples) -> int:
    """Numbers of the input, in all: what answering a split costs, up to a factor."""
    return sum(x.numel() for x in examples.inputs)


def _stretches(valid: Examples, size: int) -> Examples | None:
    """Windows spread evenly over the texts, IDS ids in all; None where the texts are no longer than that."""
    every = [(i, start) for i, x in enumerate(valid.inputs) for start in range(0, len(x), size)]
    if sum(len(x) for x in valid.inputs) <= IDS:
        return None
    picked = [every[j] for j in np.linspace(0, len(every) - 1, IDS // size).astype(int)]
    return Examples([valid.inputs[i][s : s + size] for i, s in picked], None, [valid.source[i] for i, _ in picked])


def probe(data: Dataset, mixer: str, choice: Choice, batch: int, patience: float) -> Pace:
    """The pace of a choice: the median of 10 steps less the first (fewer where they are long), and a validation."""
    times: list[float] = []

    class Enough(Exception):
        pass

    def watch(done: Fit, how: Train) -> None:
        times.append(time.perf_counter())
        if done.steps >= 3 and times[-1] - times[0] > patience:
            raise Enough

    model = build(forms.spec(data.task, mixer, choice), seed=0)
    try:
        run(model, data, Train(steps=PROBE, batch=batch, rate=1e-4, seed=0), watch=watch)
    except Enough:
        pass
    began = time.perf_counter()
    quality(model, data, "valid", rows_at_once(data))
    return Pace(float(np.median(np.diff(times))), time.perf_counter() - began)


def train(
    data: Dataset,
    mixer: str,
    choice: Choice,
    how: Train,
    judge: Callable[[int, float], None] | None = None,
    folder: Path | None = None,
    watch: Callable[[Fit, Train], None] | None = None,
) -> tuple[Model, Fit]:
    """A trained model with the weights of its best validation. `judge(check, value)` may stop it by raising."""
    model = build(forms.spec(data.task, mixer, choice), seed=how.seed)
    done = 0

    def validate(model: Model) -> float:
        nonlocal done
        value = quality(model, data, "valid", rows_at_once(data)).measure
        done += 1
        if judge is not None:
            judge(done, value)
        return value

    return model, run(model, data, how, validate, folder, watch)


def how(choice: Choice, steps: int, batch: int, seed: int) -> Train:
    """How every candidate is trained: AdamW, cosine, the choice's rate, eight validations."""
    return Train(
        steps=steps, batch=batch, rate=choice["rate"], decay=0.05, warmup=0.1, check=-(-steps // CHECKS), seed=seed
    )


def rows_at_once(data: Dataset) -> int:
    """Rows answered at a time when a split is measured."""
    return 16 if data.task.kind == "language" else 128


def curve(fit: Fit) -> dict[str, Any]:
    """The learning curve in few points: (step, mean training loss since the last) and every validation."""
    edges = np.unique(np.linspace(0, fit.steps, min(POINTS, fit.steps) + 1).astype(int))
    losses = [[int(b), round(float(np.mean(fit.losses[a:b])), 5)] for a, b in pairwise(edges)]
    return {"losses": losses, "checks": [list(c) for c in fit.checks], "best_step": fit.best_step}


def run(
    model: Model,
    data: Dataset,
    how: Train,
    validate: Callable[[Model], float] | None = None,
    folder: Path | None = None,
    watch: Callable[[Fit, Train], None] | None = None,
) -> Fit:
    """Train a built model on the training split."""
    assert model.spec.objective is not None
    feed = _Feed(data.train, data.task, how.batch, how.seed, window(data.task))
    return fit(model, model.spec.objective.build(), feed, how, validate, data.task.lower_is_better, folder, watch)


class _Feed(Batches):
    """Batches whose state taken after the last batch of an epoch is read as the start of the next.

    The loop takes a pass without batches for an empty split.
    """

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        if self.position >= len(self):
            self.epoch, self.position = self.epoch + 1, 0
