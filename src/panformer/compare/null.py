"""An arm against itself: how often the verdict on a pair calls a win that is none, task by task, and over a suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..claims import registry
from ..claims.run import spec_hash
from ..core.errors import InputError
from ..train.interrupt import Stopper
from . import judge
from .plan import Cell, Plan
from .run import FORMAT, Comparison, Say, comparisons, stamp
from .trial import Trial

OTHER = 1000  # the seeds of the second run of a pair count from here


def null(asked: Sequence[Plan], folder: Path, by: str, workers: int | None, say: Say, pairs: int) -> dict[str, Any]:
    """The first arm of each plan against itself: `pairs` pairs of runs in every cell, kept in `folder` as all trials are.

    `false_wins` of a row is the share of sets of seeds that were told apart, that of the whole is the mean over its rows.
    """
    first = asked[0]
    if not first.seeds <= pairs <= OTHER:
        raise InputError(f"--null {pairs}: expected {first.seeds}, as a set has so many seeds, to {OTHER}")
    if len(first.rates) > 1:
        raise InputError("--null: an arm against itself has one rate; give one by --rates")
    alone = [_alone(plan, pairs) for plan in asked]
    rows = [row for run in comparisons(alone, folder, by, workers, say) for row in _rows(run, pairs)]
    counted = [row["false_wins"] for row in rows if row["false_wins"] is not None]
    return {
        "format": FORMAT, "kind": "null", "name": first.suite if len(asked) > 1 else first.entry.name, "suite": first.suite,
        "arm": next(iter(first.arms)), "model": dict(first.model), "sizes": list(first.sizes), "pairs": pairs,
        "seeds": first.seeds, "sets": judge.DRAWS, "rows": rows,
        "false_wins": sum(counted) / len(counted) if counted else None, **stamp(by),
    }  # fmt: skip


def _alone(plan: Plan, pairs: int) -> Plan:
    """The first arm by itself, at the plan's rate; its minutes are for two runs of every pair, not one of every seed."""
    arm = next(iter(plan.arms))
    minutes = plan.minutes and plan.minutes * plan.seeds / (2 * pairs)
    train = plan.train.model_copy(update={"rate": plan.rates[0]})
    return replace(plan, arms={arm: plan.arms[arm]}, train=train, minutes=minutes)


def _rows(run: Comparison, pairs: int) -> list[dict[str, Any]]:
    arm = next(iter(run.plan.arms))
    run.total = 2 * pairs * len(run.plan.cells)
    trials = {cell: _pairs(run, arm, cell, pairs) for cell in run.plan.cells}
    with Stopper() as stopper:
        found = run.results([t for both in trials.values() for pair in both for t in pair], stopper)
    return [_row(run, arm, cell, both, found) for cell, both in trials.items()]


def _pairs(run: Comparison, arm: str, cell: Cell, pairs: int) -> list[tuple[Trial, Trial]]:
    """Runs that share the test and nothing else that is drawn."""
    train = run.trains[arm, cell]
    a, b = (
        [replace(run.trial((arm, cell), train, seed + away), test=seed) for seed in range(pairs)] for away in (0, OTHER)
    )
    return list(zip(a, b, strict=True))


def _row(
    run: Comparison, arm: str, cell: Cell, both: Sequence[tuple[Trial, Trial]], found: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    plan, train = run.plan, run.trains[arm, cell]
    task = registry.task(plan.task(cell))
    values = [[found[t.key]["measure"] for t in pair] for pair in both]
    known = [v for pair in values for v in pair if v is not None]
    gains = [a - b for a, b in values if a is not None and b is not None]
    enough = len(gains) >= plan.seeds
    return {
        "task": plan.entry.name, "size_is": plan.entry.size, "length": cell.length, "size": cell.size,
        "spec_hash": spec_hash(run.specs[arm, cell]), "steps": train.steps, "batch": train.batch, "rate": train.rate,
        "runs": 2 * len(both), "diverged": 2 * len(both) - len(known), "measure": task.unit, "chance": plan.entry.guess(cell.length),
        "lowest": min(known, default=None), "mean": sum(known) / len(known) if known else None, "highest": max(known, default=None),
        "gains": gains, "false_wins": judge.false_wins(gains, plan.seeds, task.resolution) if enough else None,
        "seconds": round(sum(found[t.key]["seconds"] for pair in both for t in pair), 1),
    }  # fmt: skip
