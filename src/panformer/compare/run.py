"""A comparison from plan to record: rates tuned alike, seeds run by an engine, every trial kept, costs measured."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from ..claims import registry
from ..claims.run import spec_hash
from ..core.errors import InputError
from ..measure.cost import of_model
from ..measure.latency import latencies
from ..measure.machine import machine, versions
from ..measure.store import FILE, Store
from ..model.build import build
from ..papers.schema import Train, fingerprint
from ..train.interrupt import Interrupted, Stopper
from . import judge, plan
from .engines import engine
from .plan import Cell, Plan
from .trial import Trial

FORMAT = 1
WARM, TIMED = 2, 5  # steps of a probe
LATENCY = 1.0  # seconds for the latencies of one cell
Say = Callable[[str, float], None]  # what is done, and which share of the whole


class Comparison:
    """One plan over one store; whatever the store has is not run again."""

    def __init__(self, asked: Plan, store: Store, by: str, workers: int, say: Say) -> None:
        self.plan, self.store, self.by, self.workers, self.say = asked, store, by, workers, say
        self.specs = {
            (arm, cell): asked.spec(arm, cell, plan.width_of(asked, arm, cell))
            for cell in asked.cells
            for arm in asked.arms
        }
        self.trains = self._budgets()
        self.total = len(self.specs) * (asked.seeds + asked.tries)
        self.done = 0

    # ---- budget

    def _budgets(self) -> dict[tuple[str, Cell], Train]:
        """The training of each arm in each cell: as many steps, or those of equal operations or time; fewer for all
        where `minutes` would not suffice."""
        p, first = self.plan, next(iter(self.plan.arms))
        steps = dict.fromkeys(self.specs, float(p.train.steps))
        pace = {at: self._pace(spec, at[1]) for at, spec in self.specs.items()} if p.by == "time" or p.minutes else {}
        if p.by != "parameters":
            spent = pace if p.by == "time" else {at: float(self._flops(*at)) for at in self.specs}
            steps = {at: steps[at] * spent[first, at[1]] / spent[at] for at in self.specs}
        if p.minutes:
            whole = (p.seeds + p.tries) * sum(steps[at] * pace[at] for at in self.specs) / self.workers
            steps = {at: n * min(1.0, 60 * p.minutes / whole) for at, n in steps.items()}
        return {at: p.train.model_copy(update={"steps": max(1, round(n))}) for at, n in steps.items()}

    def _flops(self, arm: str, cell: Cell) -> int:
        """Operations of a forward pass over one sequence."""
        model = build(self.specs[arm, cell], seed=0)
        return of_model(model, *_shape(self.plan, cell)).flops

    def _pace(self, spec: Mapping[str, Any], cell: Cell) -> float:
        """Seconds of a training step, measured once and kept."""
        task = fingerprint(self.plan.task(cell))
        key = f"pace/{spec_hash(dict(spec))}/{task}/{self.plan.train.batch}"
        return float(self.store.once(key, "pace", lambda: _probe(dict(spec), self.plan.task(cell), self.plan.train)))

    # ---- trials

    def run(self) -> dict[str, Any]:
        """The record. Raises Interrupted after Ctrl-C, with all finished trials kept."""
        with Stopper() as stopper:
            rates, tried, results = self._tune(stopper)
            trials = [
                self.trial(at, self.trains[at].model_copy(update={"rate": rates[at]}), seed)
                for at in self.specs
                for seed in range(self.plan.seeds)
            ]
            results |= self.results(trials, stopper)
        return self._record([*tried, *trials], results)

    def trial(self, at: tuple[str, Cell], train: Train, seed: int, tuning: bool = False) -> Trial:
        """An arm in a cell, trained once."""
        arm, cell = at
        tests = () if tuning else self.plan.tests
        return Trial(
            arm, cell.length, cell.size, self.specs[at], self.plan.task(cell), train, seed, tuning, lengths=tests
        )

    def _tune(self, stopper: Stopper) -> tuple[dict[tuple[str, Cell], float], list[Trial], dict[str, dict[str, Any]]]:
        """(the best rate of each arm in each cell, the trials that found it, their results), on a seed of its own; every
        arm has the same tries."""
        rates = self.plan.rates
        if not self.plan.tries:
            return dict.fromkeys(self.specs, rates[0]), [], {}
        trials = {
            (at, rate): self.trial(at, self.trains[at].model_copy(update={"rate": rate}), plan.TUNED_ON, tuning=True)
            for at in self.specs
            for rate in rates
        }
        found = self.results(list(trials.values()), stopper)
        lower = registry.task(self.plan.task(self.plan.cells[0])).lower_is_better
        out = {}
        for at in self.specs:
            got = {r: found[trials[at, r].key]["measure"] for r in rates}
            fine = {r: m * (-1 if lower else 1) for r, m in got.items() if m is not None}
            out[at] = max(fine, key=lambda r: fine[r]) if fine else min(rates)
        return out, list(trials.values()), found

    def results(self, trials: Sequence[Trial], stopper: Stopper) -> dict[str, dict[str, Any]]:
        """Results by key: those of the store, and the rest from the engine as they come."""
        found: dict[str, dict[str, Any]] = {}
        todo: list[Trial] = []
        for one in trials:
            body = self.store.get(one.key)
            if body is None:
                todo.append(one)
            else:
                found[one.key] = body
        self.done += len(trials) - len(todo)
        for one, body in engine(self.by)(todo, self.workers, lambda: stopper.asked):
            found[one.key] = self.store.keep(one.key, "trial", body, body["seconds"])
            self.done += 1
            told = "diverged" if body["measure"] is None else f"{body['measure']:.4g}"
            kind = f"rate {one.train.rate:g}" if one.tuning else f"seed {one.seed}"
            self.say(
                f"{self.plan.entry.name} {one.length}, width {one.size}: {one.arm}, {kind}: {told}",
                self.done / self.total,
            )
        if stopper.asked:
            raise Interrupted(f"stopped after {self.done} of {self.total} trials; the same command goes on")
        return found

    # ---- record

    def _record(self, trials: Sequence[Trial], found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        p = self.plan
        task = registry.task(p.task(p.cells[0]))
        costs = {cell: self._costs(cell) for cell in dict.fromkeys([*p.cells, *p.told])}
        rows: list[dict[str, Any]] = []
        summary: list[dict[str, Any]] = []
        pairs: list[dict[str, Any]] = []
        for one in trials:
            body, spent = found[one.key], costs[Cell(one.length, one.size)][one.arm]
            measured = (
                dict(zip(one.lengths, body["measures"], strict=True)) if one.lengths else {one.length: body["measure"]}
            )
            for length, measure in measured.items():
                cost = costs[Cell(length, one.size)][one.arm]
                rows.append({
                    "arm": one.arm, "length": length, "size": one.size, "seed": one.seed, "rate": one.train.rate,
                    "tuning": one.tuning, "measure": measure, "seconds": body["seconds"], "steps": one.train.steps,
                    "parameters": body["parameters"], "flops": 3 * one.train.steps * spent["flops"] * one.train.batch,
                    "latency_ms": cost["latency_ms"], "peak_bytes": cost["peak_bytes"], "state_bytes": cost["state_bytes"],
                })  # fmt: skip
        for cell in p.told:
            place = {"length": cell.length, "size": cell.size}
            mine = [r for r in rows if r["length"] == cell.length and r["size"] == cell.size and not r["tuning"]]
            values = {arm: [r["measure"] for r in mine if r["arm"] == arm] for arm in p.arms}
            resolution = registry.task(p.task(cell)).resolution
            for told in judge.summary(values, task.lower_is_better, resolution):
                of = [r for r in mine if r["arm"] == told["arm"]]
                spent = sum(r["seconds"] for r in of) / len(of)
                same = {
                    k: of[0][k]
                    for k in ("parameters", "flops", "latency_ms", "peak_bytes", "state_bytes", "steps", "rate")
                }
                summary.append(
                    {
                        **told,
                        **place,
                        **same,
                        "seconds": round(spent, 3),
                        "width": self.specs[told["arm"], p.trained(cell)]["width"],
                    }
                )
            pairs += [{**told, **place} for told in judge.pairs(values, task.lower_is_better, resolution)]
        return {
            "format": FORMAT, "name": p.entry.name, "suite": p.suite, "about": p.entry.about, "source": p.entry.source,
            "task": dict(p.entry.task), "size_is": p.entry.size, "lengths": list(p.judged), "sizes": list(p.sizes),
            **({"trained": p.lengths[0]} if p.tests else {}),
            "budget": {"by": p.by, "value": p.train.model_dump(), "minutes": p.minutes, "rates": list(p.rates), "tuned_on": plan.TUNED_ON},
            "arms": [
                {"name": arm, "spec": self.specs[arm, p.cells[0]], "spec_hash": spec_hash(self.specs[arm, p.cells[0]])}
                for arm in p.arms
            ],
            "trials": rows, "summary": summary, "pairs": pairs,
            "measure": task.unit, "lower_is_better": task.lower_is_better, "chance": _chance(p),
            "seeds": p.seeds, **stamp(self.by),
        }  # fmt: skip

    def _costs(self, cell: Cell) -> dict[str, dict[str, Any]]:
        """Of every arm over one sequence of this cell: operations, peak memory and state, counted; latency, timed in turn."""
        shape = _shape(self.plan, cell)
        specs = {arm: self.specs[arm, self.plan.trained(cell)] for arm in self.plan.arms}
        named = "/".join(f"{arm}={spec_hash(spec)}" for arm, spec in specs.items())
        key = f"costs/{named}/{shape[0]}"

        def measured() -> dict[str, dict[str, Any]]:
            models = {arm: build(spec, seed=0).eval() for arm, spec in specs.items()}
            with torch.inference_mode():
                times = latencies({arm: _call(m, self.plan, cell) for arm, m in models.items()}, LATENCY)
            out = {}
            for arm, model in models.items():
                cost = of_model(model, *shape)
                out[arm] = {"flops": cost.flops, "peak_bytes": cost.peak, "state_bytes": cost.state,
                            "latency_ms": round(times[arm].median, 4)}  # fmt: skip
            return out

        return dict(self.store.once(key, "costs", measured))


def compare(asked: Sequence[Plan], folder: Path, by: str, workers: int | None, say: Say) -> list[dict[str, Any]]:
    """The records of all plans, one after the other, with their trials in `folder`."""
    return [one.run() for one in comparisons(asked, folder, by, workers, say)]


def comparisons(asked: Sequence[Plan], folder: Path, by: str, workers: int | None, say: Say) -> Iterator[Comparison]:
    """Each plan over the store of `folder`; what it says counts as its share of the whole."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise InputError(f"{folder}: cannot hold a comparison ({fault.strerror}); give another --out") from None
    with Store(folder / FILE) as store:
        for i, one in enumerate(asked):
            part = lambda line, share, i=i: say(line, (i + share) / len(asked))  # noqa: E731
            yield Comparison(one, store, by, workers or os.cpu_count() or 1, part)


def stamp(by: str) -> dict[str, Any]:
    """Who ran it, where and when."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"engine": by, "machine": machine(), "versions": versions(), "date": now}


def _chance(asked: Plan) -> float | list[float] | None:
    """What a constant answer reaches: one number, or one per length where they differ."""
    told = [asked.entry.guess(n) for n in asked.judged]
    return told[0] if len(set(told)) == 1 else [v for v in told if v is not None]


def _shape(asked: Plan, cell: Cell) -> tuple[int, int, int | None]:
    """An input of this cell: tokens, one row of them, and channels where it is a series."""
    x = registry.task(asked.task(cell)).batch(torch.Generator().manual_seed(0), 8).x
    tokens = x.shape[1] if x.ndim < 4 else x.shape[-1] * x.shape[-2]
    return int(tokens), 1, int(x.shape[2]) if x.ndim == 3 else None


def _call(model: Any, asked: Plan, cell: Cell) -> Callable[[], object]:
    batch = registry.task(asked.task(cell)).batch(torch.Generator().manual_seed(0), 1)
    return lambda: model(batch.x, batch.lengths)


def _probe(spec: dict[str, Any], task: Mapping[str, Any], train: Train) -> float:
    """Seconds of one training step on one thread: the median of a few."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        made, model = registry.task(task), build(spec, seed=0)
        batch = made.batch(torch.Generator().manual_seed(0), train.batch)
        times = []
        for _ in range(WARM + TIMED):
            began = time.perf_counter()
            model(batch.x, batch.lengths).float().square().mean().backward()
            model.zero_grad(set_to_none=True)
            times.append(time.perf_counter() - began)
        return sorted(times[WARM:])[TIMED // 2]
    finally:
        torch.set_num_threads(before)
