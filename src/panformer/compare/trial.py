"""One training run as a pure function of what it is told: the same answer in any process, on any engine."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import torch

from .. import __version__
from ..claims import registry
from ..claims.run import tested, train_once
from ..papers.schema import Train


@dataclass(frozen=True)
class Trial:
    """An arm's model on a task, trained once. `tuning` trials choose the rate and are not judged."""

    arm: str
    length: int
    size: int
    spec: dict[str, Any]
    task: dict[str, Any]
    train: Train
    seed: int
    tuning: bool = False
    test: int | None = None  # the seed of the test, where it is another
    lengths: tuple[int, ...] = ()  # of further tests of the trained model

    @property
    def key(self) -> str:
        """Names everything that decides the result, so that a stored one may stand for it."""
        told = [
            self.spec,
            self.task,
            self.train.model_dump(),
            self.seed,
            self.test,
            self.lengths,
            __version__,
            torch.__version__,
        ]
        return "trial/" + hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def run(trial: Trial) -> dict[str, Any]:
    """`measure` (None where training diverged), `measures` of further tests, parameters, seconds and the hash of the model;
    on one thread."""
    torch.set_num_threads(1)
    task = registry.task(trial.task)
    done = train_once(trial.spec, task, trial.seed, trial.train, trial.test)
    longer = [tested(done, registry.task({**trial.task, "test": n}), trial.seed).measure for n in trial.lengths]
    return {
        "measure": _known(done.measure),
        "measures": [_known(m) for m in longer],
        "parameters": done.parameters,
        "seconds": round(done.seconds, 3),
        "spec_hash": done.spec_hash,
        "curve": [list(point) for point in done.curve],
    }


def _known(measure: float) -> float | None:
    return None if math.isnan(measure) else measure
