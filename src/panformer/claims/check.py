"""Run all checks of a row and hand back its evidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..core.errors import InputError
from ..measure.statistics import LEVEL
from ..ops import backend
from ..papers import schema
from ..papers.catalogue import Row
from . import evidence, judges, registry, run
from . import verdict as v
from .arms import merge, spec_of
from .costs import ENDS, TIMED, meter

Say = Callable[[str], None]


def check(row: Row, say: Say = lambda line: None) -> dict[str, Any]:
    """The evidence of a fresh run of every check; nothing is written."""
    entry = row.entry
    if entry is None:
        raise InputError(row.fault or f"{row.slug}: planned, there is nothing to run yet")
    bench, done, start = Bench(entry, say), [], time.perf_counter()
    for i, one in enumerate(entry.checks):
        say(f"{row.slug} {i + 1}/{len(entry.checks)} {one.judge} {one.about}".rstrip())
        began, bench.specs = time.perf_counter(), {}
        with backend.record() as used:
            outcome = bench.judge(one)
        seconds = time.perf_counter() - began
        say(f"  {outcome.verdict}: {outcome.reason} ({seconds:.0f} s)")
        done.append(_told(one, outcome, bench.specs, used, seconds))
    verdict = v.combine(c["verdict"] for c in done)
    return evidence.record(row, verdict, done, time.perf_counter() - start, f"panformer check {row.slug}")


def _told(
    one: Any, outcome: judges.Outcome, specs: Mapping[str, str], used: Mapping[str, int], seconds: float
) -> dict[str, Any]:
    found = outcome.interval
    return evidence.plain({
        "judge": one.judge, "about": one.about, "verdict": outcome.verdict, "reason": outcome.reason,
        "interval": None if found is None else {"low": found.low, "mean": found.mean, "high": found.high, "level": LEVEL},
        "numbers": outcome.numbers, "seeds": _seeds(one), "specs": dict(specs),
        "backend": dict(used) or {"torch": 1}, "seconds": round(seconds, 2),
        "check": one.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    })  # fmt: skip


def _seeds(one: Any) -> list[int]:
    """The seeds of the arms; the A-against-A run of `beats` uses the next ones."""
    if isinstance(one, schema.Equal | schema.Parity):
        return list(range(one.seeds))
    if isinstance(one, schema.Beats | schema.Holds):
        return list(range(one.expect.seeds))
    return list(range(one.expect.repeats)) if isinstance(one, schema.Scales | schema.Costs) else []


class Bench:
    """Runs the arms of one paper's checks; an arm that several checks share is run once."""

    def __init__(self, paper: schema.Paper, say: Say) -> None:
        self.paper, self.say = paper, say
        self.specs: dict[str, str] = {}  # arm -> hash of the model it built
        self._memo: dict[str, Any] = {}

    def judge(self, one: Any) -> judges.Outcome:
        if isinstance(one, schema.Equal):
            return judges.equal(one, lambda name, seed, options: self._fact("facts", name, seed, options))
        if isinstance(one, schema.Parity):
            return judges.parity(one, lambda name, seed, options: self._fact("peers", name, seed, options))
        if isinstance(one, schema.Beats):
            return self._beats(one)
        if isinstance(one, schema.Scales):
            return judges.scales(one.lengths, self._sweeps(one), one.expect.exponent)
        if isinstance(one, schema.Costs):
            return self._costs(one)
        if isinstance(one, schema.Holds):
            seeds = range(one.expect.seeds)
            control = None if one.control is None else self._values("control", one, one.control, seeds)
            return judges.holds(self._values("candidate", one, one.change, seeds), one.expect.bound, control)
        return judges.listed(one)

    def _beats(self, one: schema.Beats) -> judges.Outcome:
        n = one.expect.seeds
        lower, resolution = one.lower, 0.0
        if one.task is not None:
            task = registry.task(merge(one.task, one.change.task))
            lower, resolution = task.lower_is_better, task.resolution
        arms = {
            "candidate": (one.change, range(n)),
            "control": (one.control, range(n)),
            "null": (one.control, range(n, 2 * n)),
        }
        if one.floor is not None:
            arms["floor"] = (one.floor, range(n))
        found = {name: self._values(name, one, change, seeds) for name, (change, seeds) in arms.items()}
        return judges.beats(
            found["candidate"],
            found["control"],
            found["null"],
            one.expect.margin,
            lower,
            resolution,
            found.get("floor"),
        )

    def _values(self, arm: str, one: Any, change: schema.Change, seeds: Sequence[int]) -> list[float]:
        """One number per seed: a task's measure after training, or a fact."""
        out = []
        for seed in seeds:
            if one.task is not None:
                out.append(self._trained(arm, one, change, seed).measure)
            else:
                out.append(self._number(one, change, seed))
        self.say(f"  {arm}: {' '.join(f'{x:.4g}' for x in out)}")
        return out

    def _trained(self, arm: str, one: Any, change: schema.Change, seed: int) -> run.Run:
        task = registry.task(merge(one.task, change.task))
        spec = spec_of(self.paper.model, change, task.ends())
        train = schema.Train.model_validate(merge(one.train.model_dump(), change.train))
        key = schema.fingerprint([spec, task.training(), train.model_dump(), seed])
        asked = schema.fingerprint([key, task.dump()])
        if key not in self._memo:
            self._memo[key] = self._memo[asked] = run.train_once(spec, task, seed, train)
        elif asked not in self._memo:  # trained for a check that tests it otherwise, at another length say
            self._memo[asked] = run.tested(self._memo[key], task, seed)
        done = self._memo[asked]
        self.specs[arm] = done.spec_hash
        return done

    def _number(self, one: Any, change: schema.Change, seed: int) -> float:
        options = {**one.options, **change.options}
        key = schema.fingerprint([one.fact, options, change.model_dump(), seed])
        if key not in self._memo:
            self._memo[key] = float(self._fact("facts", one.fact, seed, options, change))
        return self._memo[key]

    def _fact(
        self, home: str, name: str, seed: int, options: Mapping[str, Any], change: schema.Change = schema.Change()
    ) -> Any:
        model = self.paper.model
        if model:
            model = spec_of(model, change, {})
        return registry.call(home, name, seed, options, model)

    # ---- costs

    def _sweeps(self, one: schema.Scales) -> list[list[float]]:
        """One sweep over the lengths per repeat (timed), per seed (trained), or a single one (counted)."""
        if one.task is not None:
            return [self._quality(one, seed) for seed in range(one.expect.repeats)]
        assert one.cost is not None
        spec = self._spec("candidate", one.change)
        meters = [meter(one.cost, spec, n, one.batch) for n in one.lengths]
        return [[m() for m in meters] for _ in range(one.expect.repeats if one.cost in TIMED else 1)]

    def _quality(self, one: schema.Scales, seed: int) -> list[float]:
        done = self._trained("candidate", one, one.change, seed)
        tree = merge(one.task or {}, one.change.task)
        return [registry.task({**tree, "test": n}).measure(done.model, seed) for n in one.lengths]

    def _costs(self, one: schema.Costs) -> judges.Outcome:
        specs = [
            self._spec("candidate", one.change),
            self._spec("control", one.control),
            self._spec("control", one.control),
        ]
        meters = [meter(one.cost, spec, one.length, one.batch) for spec in specs]
        turns = [[m() for m in meters] for _ in range(one.expect.repeats if one.cost in TIMED else 1)]
        ours, theirs, again = (list(side) for side in zip(*turns, strict=True))
        if one.cost not in TIMED:  # a count has no spread
            ours, theirs, again = ours * 2, theirs * 2, again * 2
        return judges.costs(ours, theirs, again, one.expect.ratio)

    def _spec(self, arm: str, change: schema.Change) -> dict[str, Any]:
        spec = spec_of(self.paper.model, change, ENDS)
        self.specs[arm] = run.spec_hash(spec)
        return spec
