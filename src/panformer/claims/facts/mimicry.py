"""Facts about a trained softmax model whose attention is made linear: what its maps and its answers keep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from ...model.model import Model
from ...papers.schema import Change, Train
from ...train import loop, mimic
from .. import registry, run
from ..arms import spec_of
from ..tasks._base import Feed, Task

Tree = Mapping[str, Any]
LOSSES: dict[str, mimic.Loss] = {"likeness": mimic.likeness, "agreement": mimic.agreement}


def kept(
    seed: int, model: Tree, task: Tree, train: Tree, feature: str | Tree | None, learn: str = "likeness",
    steps: int = 200, tune: int = 0,
) -> float:  # fmt: skip
    """The task's measure after conversion: `feature` learns from the softmax's maps by `learn` for `steps`.

    Then all of the model is trained on the task for `tune` more. Without a feature the trained model itself is measured,
    tuned alike.
    """
    teacher, goal = _taught(seed, model, task, train)
    student = _converted(seed, teacher, goal, feature, learn, steps) if feature else _copy(teacher)
    if tune:
        how = loop.Train(steps=tune, batch=32, rate=1e-3, warmup=0.1, decay=0.0, seed=seed)
        feed = Feed(goal, 32, torch.Generator().manual_seed(40_000 + seed))
        with torch.random.fork_rng(devices=[]):
            loop.fit(student, goal.goal, feed, how)
    return goal.measure(student, seed)


def apart(
    seed: int, model: Tree, task: Tree, train: Tree, feature: str | Tree, what: Literal["order", "entropy", "softmax"],
    learn: str = "likeness", steps: int = 200,
) -> float:  # fmt: skip
    """How a converted model's attention maps differ from those of the softmax, on examples it has not seen.

    `order`: Spearman's correlation of weight and q . k over the keys of a query; `entropy`: mean distance of the
    entropies, in nats; `softmax`: Kullback-Leibler divergence from the softmax's map, in nats.
    """
    teacher, goal = _taught(seed, model, task, train)
    student = _converted(seed, teacher, goal, feature, learn, steps)
    batch, found = goal.batch(torch.Generator().manual_seed(50_000 + seed), 32), []
    maps = [m.feature for m in student.modules() if hasattr(m, "feature")]
    for phi, s in zip(maps, mimic.seen(teacher, batch), strict=True):
        with torch.no_grad():
            own = mimic.weights(phi, s)
        asked = (s.keep.sum(-1) > 7).expand(own.shape[:-1])  # few keys have no order to speak of
        a, b, keep = own[asked], s.weight[asked], s.keep.expand_as(own)[asked]
        if what == "order":
            found.append(_spearman(a, b, keep))
        elif what == "entropy":
            found.append((_entropy(a) - _entropy(b)).abs())
        else:
            found.append((b * (b.clamp_min(1e-12) / a.clamp_min(1e-12)).log()).sum(-1))
    return float(torch.cat(found).mean())


def multiplies(
    seed: int, bits: int = 16, samples: int = 24, size: int = 16, length: int = 64, codes: bool = True
) -> float:
    """Multiplications of hashed linear attention over those of softmax attention, for one head without its maps.

    Softmax: q . k and weight times value, 2 n^2 E. Codes: for each of 2 n queries and keys m E for distances, m for
    the kernel and m b for the hash; products with codes are additions; a power of 2 is added by a shift; then n E
    divisions, counted as multiplications. Exponentials are not counted on either side. `codes: false` multiplies
    b-channel features that are no codes, 2 n (b + 1) E more.
    """
    ours = 2 * length * (samples * size + samples + samples * bits) + length * size
    plain = 0 if codes else 2 * length * (bits + 1) * size
    return (ours + plain) / (2 * length**2 * size)


def _taught(seed: int, model: Tree, task: Tree, train: Tree) -> tuple[Model, Task]:
    return _teacher(seed, *(json.dumps(t, sort_keys=True) for t in (model, task, train)))


@lru_cache(maxsize=8)
def _teacher(seed: int, model: str, task: str, train: str) -> tuple[Model, Task]:
    """A trained softmax model, which nobody may change."""
    goal = registry.task(json.loads(task))
    spec = spec_of(json.loads(model), Change(), goal.ends())
    return run.train_once(spec, goal, seed, Train.model_validate(json.loads(train))).model.eval(), goal


def _converted(seed: int, teacher: Model, goal: Task, feature: str | Tree, learn: str, steps: int) -> Model:
    student = mimic.linearise(teacher, feature, seed)
    feed = Feed(goal, 32, torch.Generator().manual_seed(30_000 + seed))
    batches = [batch for batch, _ in zip(feed, range(max(steps, 1)), strict=False)]
    if learn == "agreement":
        mimic.settle(student, teacher, batches[0], seed)
    mimic.mimic(student, teacher, batches[:steps], loss=LOSSES[learn])
    return student.eval()


def _copy(model: Model) -> Model:
    twin = run.build(model.spec, seed=0)
    twin.load_state_dict(model.state_dict())
    return twin


def _entropy(weight: Tensor) -> Tensor:
    return -(weight * weight.clamp_min(1e-12).log()).sum(-1)


def _spearman(a: Tensor, b: Tensor, keep: Tensor) -> Tensor:
    """Rank correlation of each row of a and b (N, T), among the places kept; ties share the mean of their ranks."""
    ranks = []
    for x in (a, b):
        x = x.masked_fill(~keep, torch.nan)
        below = (x[:, :, None] > x[:, None]).sum(-1) + ((x[:, :, None] == x[:, None]).sum(-1) - 1) / 2
        rank = below.where(keep, 0)
        rank = (rank - rank.sum(-1, keepdim=True) / keep.sum(-1, keepdim=True)).where(keep, 0)
        ranks.append(rank / rank.norm(dim=-1, keepdim=True).clamp_min(1e-12))
    return (ranks[0] * ranks[1]).sum(-1)
