"""Facts about the length of the windows that a model is trained on, at one budget of tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ...model.model import Model
from ...papers.schema import Change, Train
from .. import registry, run
from ..arms import spec_of

Tree = Mapping[str, Any]
LENGTHS = (16, 32, 64, 128)
TOKENS = 1024  # of a step, whatever the length


def gain(seed: int, model: Tree, train: Tree, ask: str, longer: int = 128, shorter: int = 16) -> float:
    """How much higher the share of right answers is after training on the longer windows."""
    return share(seed, model, train, ask, longer) - share(seed, model, train, ask, shorter)


def apart(seed: int, model: Tree, train: Tree, asks: Sequence[str], lengths: Sequence[int] = LENGTHS) -> float:
    """By what factor the best length for the first task is above that for the second; of equals the shortest is best."""
    first, second = (best(seed, model, train, ask, lengths) for ask in asks)
    return first / second


def best(seed: int, model: Tree, train: Tree, ask: str, lengths: Sequence[int] = LENGTHS) -> float:
    """The length of windows after which most answers are right; of lengths that differ by under one answer in a hundred
    the shortest."""
    found = {n: share(seed, model, train, ask, n) for n in sorted(lengths)}
    top = max(found.values())
    return float(next(n for n, x in found.items() if x > top - 0.01))


def share(seed: int, model: Tree, train: Tree, ask: str, length: int) -> float:
    """Right answers of all, after training on windows of this length."""
    net = _trained(seed, json.dumps(model, sort_keys=True), json.dumps(train, sort_keys=True), length)
    return registry.task({"use": "grammar", "length": length, "ask": ask}).measure(net, seed)


@lru_cache(maxsize=64)
def _trained(seed: int, model: str, train: str, length: int) -> Model:
    task = registry.task({"use": "grammar", "length": length})
    how = Train.model_validate({**json.loads(train), "batch": TOKENS // length})
    return run.train_once(spec_of(json.loads(model), Change(), task.ends()), task, seed, how).model
