"""Facts about models that are tested longer than trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ...papers.schema import Change, Train
from .. import registry, run
from ..arms import spec_of

Tree = dict[str, Any]


def spread(seed: int, model: Tree, task: Tree, train: Mapping[str, Any], runs: int = 5) -> float:
    """The largest less the smallest measure of models that differ in their seed alone: weights and order of the data."""
    asked = registry.task(task)
    spec = json.dumps(spec_of(model, Change(), asked.ends()), sort_keys=True)
    found = []
    for one in range(runs):
        done = trained(spec, json.dumps(asked.training()), seed * runs + one, json.dumps(dict(train)))
        found.append(run.tested(done, asked, seed * runs + one).measure)
    return max(found) - min(found)


@lru_cache(maxsize=8)
def trained(spec: str, task: str, seed: int, train: str) -> run.Run:
    """A model trained once for all tests of it; nobody may write to it."""
    how = Train.model_validate(json.loads(train))
    return run.train_once(json.loads(spec), registry.task(json.loads(task)), seed, how)
