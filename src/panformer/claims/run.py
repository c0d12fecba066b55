"""Train one arm once: the same seed gives the same weights, data and result on the same machine."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch

from ..core.spec import read
from ..model.build import build
from ..model.model import Model
from ..papers.schema import Train
from .tasks._base import Task


@dataclass(frozen=True)
class Run:
    """What one training run gave. `curve` is [step, loss] at some twenty steps."""

    measure: float
    curve: list[tuple[int, float]]
    seconds: float
    parameters: int
    spec_hash: str
    model: Model


def train_once(spec: dict[str, Any], task: Task, seed: int, train: Train) -> Run:
    """AdamW with warm-up and cosine decay on fresh batches of the task, then its measure on unseen data."""
    model = build(spec, seed=seed)
    start = time.perf_counter()
    curve = fit(model, task, seed, train)
    measure = task.measure(model, seed) if math.isfinite(curve[-1][1]) else math.nan  # diverged
    count = sum(p.numel() for p in model.parameters())
    return Run(measure, curve, time.perf_counter() - start, count, spec_hash(spec), model)


def fit(model: Model, task: Task, seed: int, train: Train) -> list[tuple[int, float]]:
    """Train in place; returns the loss curve."""
    rng = torch.Generator().manual_seed(10_000 + seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=train.rate, weight_decay=train.decay)
    curve: list[tuple[int, float]] = []
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout
        for step in range(train.steps):
            optimiser.param_groups[0]["lr"] = train.rate * pace(step, train)
            batch = task.batch(rng, train.batch)
            answer = model.run(batch.x, batch.lengths)
            loss = task.loss(answer.out, batch) + sum(answer.losses.values())
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            if step % max(1, train.steps // 20) == 0 or step == train.steps - 1:
                curve.append((step, round(loss.item(), 5)))
                if not math.isfinite(curve[-1][1]):
                    break
    return curve


def pace(step: int, train: Train) -> float:
    """Share of the peak rate: linear warm-up, then half a cosine to nothing."""
    warm = max(1, round(train.warmup * train.steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, train.steps - warm)))


def spec_hash(spec: dict[str, Any]) -> str:
    """The hash of the resolved model."""
    return read(spec).hash
