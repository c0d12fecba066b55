"""Who wins, and what may be said about it.

The winner is the contender that fits the limits with the best validation quality, baselines included; the test
split decides nothing and is only told.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import InputError
from ..data.base import Task
from ..measure.quality import Scores
from ..measure.statistics import Interval, Statistic, over_both, pareto
from .finals import Entry, valid
from .options import Options

ROUNDING = 1e-12  # relative difference of two means over seeds that is no difference


def cost(entry: Entry, batch: int) -> dict[str, float | None]:
    """What the limits are about."""
    latency = entry["latency"][str(batch)]["median"]
    return {"latency_ms": latency, "memory_mb": entry.get("memory_mb"), "size_mb": entry["size_mb"]}


def decide(entries: list[Entry], options: Options, task: Task) -> dict[str, Any]:
    """Every contender judged: `ranking` by validation, `over` the limits, `front`, and the words on the winner.

    Raises InputError where nothing fits, with the nearest and by how much it misses.
    """
    sign = 1.0 if task.lower_is_better else -1.0
    over = {e["name"]: said for e in entries if (said := options.limits.says(cost(e, options.batch)))}
    fits = [e for e in entries if e["name"] not in over]
    if not fits:
        misses = {e["name"]: max(options.limits.over(cost(e, options.batch)).values()) for e in entries}
        name = min(misses, key=lambda n: misses[n])
        raise InputError(f"nothing fits the limits; the nearest is {name}: {over[name]}")
    fits.sort(key=lambda e: (sign * valid(e), e["latency"]["1"]["median"]))  # the faster of equals
    for entry in entries:
        entry["valid"], entry["test"] = valid(entry), _plain(tested(entry, task))
    points = {e["name"]: (sign * e["test"]["mean"], e["latency"]["1"]["median"], e["size_mb"]) for e in fits}
    winner, others = fits[0], fits[1:]
    first = [next((e for e in others if e["kind"] == kind), None) for kind in ("baseline", "candidate")]
    rivals = [e for e in others if e is others[0] or e in first]
    pairs = {e["name"]: compared(winner, e, sign) for e in rivals}
    rows = 0.0 if task.lower_is_better else sum(winner["runs"][0]["scores"]["weights"])  # that are right or wrong
    return {
        "winner": winner["name"], "ranking": [e["name"] for e in fits], "over": over, "front": sorted(pareto(points)),
        "compared": {n: _plain(i.unsure_apart(rows)) for n, i in pairs.items()},
        "verdict": [_names(winner), *(_says(n, i, task, winner["test"]["mean"], rows) for n, i in pairs.items())],
    }  # fmt: skip


def tested(entry: Entry, task: Task) -> Interval:
    """Mean test quality over seeds with its 95% interval, over seeds and test examples."""
    weights = entry["runs"][0]["scores"]["weights"]
    found = over_both(_mean(entry), len(weights), [r["test"] for r in entry["runs"]])
    return found.within(0, np.inf) if task.lower_is_better else found.within(0, 1).unsure(sum(weights))


def compared(a: Entry, b: Entry, sign: float) -> Interval:
    """By how much a is better than b on test (positive: better), paired by test example."""
    first, second = _mean(a), _mean(b)
    ours, theirs = [r["test"] for r in a["runs"]], [r["test"] for r in b["runs"]]
    many = max(len(ours), len(theirs))

    def apart(ours: Any, theirs: Any) -> np.ndarray:
        return np.where(np.isclose(ours, theirs, rtol=ROUNDING, atol=0), 0.0, sign * (theirs - ours))

    seeds = apart(np.resize(ours, many), np.resize(theirs, many)).tolist()
    return over_both(lambda at: apart(first(at), second(at)), len(a["runs"][0]["scores"]["weights"]), seeds)


def _mean(entry: Entry) -> Statistic:
    """Blocks of test examples -> the measure on them, averaged over seeds."""
    runs = [Scores.read(r["scores"]) for r in entry["runs"]]
    return lambda at: np.mean([s.over(at) for s in runs], 0)


def _names(winner: Entry) -> str:
    return f"winner: {winner['name']} ({winner['kind']}; {winner['note']})"


def _says(name: str, apart: Interval, task: Task, reached: float, rows: float) -> str:
    """The comparison in one sentence, on the test split."""
    if apart.nothing:
        room = apart.unsure_apart(rows).high
        left = f"; {rows:.0f} rows cannot rule out a difference of up to {room:.2g}" if room else ""
        return (
            f"level with {name} on the test split: both reach {task.measure} {reached:.4g}, the same on every row{left}"
        )
    span = f"95% interval {apart.low + 0.0:.4g} to {apart.high + 0.0:.4g}"
    told = f"{task.measure} apart by {apart.mean + 0.0:.4g} ({span}, positive: the winner is better)"
    if apart.low > 0:
        return f"better than {name} on the test split: {told}"
    if apart.high < 0:
        return f"worse than {name} on the test split, although validation put it first: {told}"
    return f"no better than {name}, as far as the test split can tell: {told}"


def _plain(interval: Interval) -> dict[str, float | None]:
    return {n: v if np.isfinite(v) else None for n, v in vars(interval).items()}
