"""Facts about what chance alone decides: one model and task, trained from several seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...papers.schema import Change, Train
from .. import registry, run
from ..arms import spec_of


def apart_beyond(
    seed: int, model: Mapping[str, Any], task: Mapping[str, Any], train: Mapping[str, Any], test: int, runs: int = 5
) -> float:
    """How much further apart `runs` seeds are at test length `test` than at the trained one: best less worst, of each.

    Data and weights follow from the seed. nan where a run diverges.
    """
    near, far = registry.task(task), registry.task({**task, "test": test})
    how = Train.model_validate(dict(train))
    spec = spec_of(model, Change(), near.ends())
    found = []
    for i in range(runs * seed, runs * seed + runs):
        done = run.train_once(spec, near, i, how)
        found.append((done.measure, run.tested(done, far, i).measure))
    within, beyond = (max(values) - min(values) for values in zip(*found, strict=True))
    return beyond - within
