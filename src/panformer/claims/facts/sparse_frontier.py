"""Facts about attention that is made sparse after training: what is exact, and what answers lose, by task and phase."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.score import Causal, Same
from ...model.model import Model
from ...ops.attend import reference
from ...papers.schema import Change, Train
from ...runtime import sparsify
from ...runtime.sparsify import Sparse, Unit, sparsified
from .. import registry, run
from ..arms import spec_of
from ..tasks.prompts import KINDS

Tree = Mapping[str, Any]
CAUSAL = Same() & Causal()
SPARSITIES = (1.0, 2.0, 4.0, 8.0, 16.0)


def full(seed: int, unit: Unit, share: float = 1.0, length: int = 45, border: int = 37) -> tuple[Tensor, Tensor]:
    """Attention of which a unit leaves this share, and all of it: equal only where all is left."""
    q, k, v = _draw(seed, length)
    at = Layout.dense(2, length)
    return Sparse(unit, share, border)(q, k, v, CAUSAL, at, at, 0.4), reference(q, k, v, CAUSAL, at, at, 0.4)


def over(seed: int, mean: bool = False, length: int = 45) -> float:
    """How far any score is above its page's bound, at most 0; `mean` takes the page's mean key for a bound."""
    q, k, _ = _draw(seed, length)
    bound, size = sparsify.bounds(q, k), sparsify.SIZES["pages"]
    if mean:
        paged = torch.nn.functional.pad(k, (0, 0, 0, -length % size), value=torch.nan).unflatten(2, (-1, size))
        bound = q @ paged.nanmean(3).mT
    return float((q @ k.mT - bound.repeat_interleave(size, -1)[..., :length]).max())


def worst(seed: int, model: Tree, train: Tree, unit: Unit, share: float) -> float:
    """The largest loss of right answers, over the kinds of prompts, where this share of attention is left."""
    return max(right(seed, model, train, kind) - right(seed, model, train, kind, unit, share) for kind in KINDS)


def reach(
    seed: int, model: Tree, train: Tree, units: Sequence[Unit], than: Sequence[Unit], loss: float = 0.05
) -> float:
    """How many times sparser attention may be with the best of some units than with the best of others."""
    return sparsest(seed, model, train, units, loss) / sparsest(seed, model, train, than, loss)


def sparsest(seed: int, model: Tree, train: Tree, units: Sequence[Unit], loss: float = 0.05) -> float:
    """The sparsity, of 1 to 16 times, up to which the mean over kinds loses no more than so many right answers."""

    def lost(unit: Unit, share: float) -> float:
        before, after = (sum(right(seed, model, train, kind, u, share) for kind in KINDS) for u in (None, unit))
        return (before - after) / len(KINDS)

    def attained(unit: Unit) -> float:
        return max(s for s in SPARSITIES if all(lost(unit, 1 / t) <= loss for t in SPARSITIES if 1 < t <= s))

    return max(attained(unit) for unit in units)


def right(seed: int, model: Tree, train: Tree, kind: str, unit: Unit | None = None, share: float = 1.0) -> float:
    """The share of right answers to one kind of prompts; without a unit with all of attention."""
    net = _trained(seed, json.dumps(model, sort_keys=True), json.dumps(train, sort_keys=True))
    task = registry.task({"use": "prompts", "kind": kind})
    if unit is None:
        return task.measure(net, seed)
    with sparsified(net, unit, share, task.config.length):
        return task.measure(net, seed)


@lru_cache(maxsize=8)
def _trained(seed: int, model: str, train: str) -> Model:
    task = registry.task({"use": "prompts"})
    how = Train.model_validate(json.loads(train))
    return run.train_once(spec_of(json.loads(model), Change(), task.ends()), task, seed, how).model


def _draw(seed: int, length: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, length, 6, generator=rng, dtype=torch.float64) for _ in range(3)]
