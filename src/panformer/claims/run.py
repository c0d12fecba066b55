"""Train one arm once: the same seed gives the same weights, data and result on the same machine."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..core.errors import PanformerError
from ..core.spec import read
from ..measure.cost import parameters
from ..model.build import build
from ..model.model import Model
from ..papers.schema import Train
from ..train import loop
from .tasks._base import Feed, Task


@dataclass(frozen=True)
class Run:
    """What one training run gave. `curve` is (step, loss) at some twenty steps."""

    measure: float
    curve: list[tuple[int, float]]
    seconds: float
    parameters: int
    spec_hash: str
    model: Model


def train_once(spec: dict[str, Any], task: Task, seed: int, train: Train, test: int | None = None) -> Run:
    """Train on fresh examples, then measure on unseen ones, those of the seed or of `test`. A run that diverges measures nan."""
    return train_on(build(spec, seed=seed), task, seed, train, test)


def train_on(model: Model, task: Task, seed: int, train: Train, test: int | None = None) -> Run:
    """The same with a model that is there already."""
    named = model.spec.hash
    feed = Feed(task, train.batch, torch.Generator().manual_seed(10_000 + seed))
    how = loop.Train(**train.model_dump(), seed=seed)
    with torch.random.fork_rng(devices=[]):
        try:
            done = loop.fit(model, task.goal, feed, how)
        except PanformerError as fault:
            if type(fault) is not PanformerError:  # only a loss that is not finite is a result
                raise
            return Run(math.nan, [], 0.0, parameters(model), named, model)
    every = max(1, len(done.losses) // 20)
    curve = [(i, round(loss, 5)) for i, loss in enumerate(done.losses) if i % every == 0]
    return Run(
        task.measure(model, seed if test is None else test), curve, done.seconds, parameters(model), named, model
    )


def tested(done: Run, task: Task, seed: int) -> Run:
    """A run with the measure of another test; one that diverged stays nan."""
    return done if math.isnan(done.measure) else replace(done, measure=task.measure(done.model, seed))


def spec_hash(spec: dict[str, Any]) -> str:
    """The hash of the resolved model."""
    return read(spec).hash
