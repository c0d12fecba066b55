"""The best candidates once more, over new seeds, beside the baselines: test quality, cost, and who wins.

Which of them is handed over, and what may be said about it, is decided in `outcome`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.base import Dataset
from ..data.batch import Batch, Batches
from ..measure.latency import Latency, latencies
from ..measure.quality import Answers, Quality, quality, window
from ..measure.statistics import blocks_of
from ..measure.store import Store
from ..model.build import build
from . import baselines, forms, memory, propose, saved, trial
from .options import Options
from .plan import FinalPlan

BLOCKS = 400  # most blocks of examples that a bootstrap draws from
BASELINE = 0.08  # of the minutes for tuning one baseline
LATENCY = 4.0  # seconds of measuring latencies, per batch size

Say = Callable[[str], None]
Entry = dict[str, Any]  # one contender, as it stands in the report


@dataclass
class Finals:
    data: Dataset
    options: Options
    store: Store
    folder: Path
    say: Say

    # ---- training

    def baseline(self, name: str) -> Entry:
        """Fit, save and measure one baseline; its options are tuned on valid."""

        def make() -> Entry:
            plain, note, valid = baselines.fit(name, self.data, BASELINE * 60 * self.options.minutes)
            where = self._where(name)
            size = saved.write(where, plain, self.data, self._opened)
            test = quality(plain, self.data, "test", baselines.batch(self.data))
            return {**self._run(valid, test), "note": note, "folder": where.name, "size_mb": size / 1e6}

        body = self.store.once(f"baseline/{name}", "baselines", make)
        self.say(f"baseline: {name} {self.data.task.measure} {body['valid']:.4f} ({body['note']})")
        return {"name": name, "kind": "baseline", "note": body["note"], "runs": [body]}

    def candidates(self, best: Mapping[str, Any], batch: int, plan: FinalPlan) -> list[Entry]:
        """The best choice of each of the best mixers, trained anew under every seed."""
        found = []
        few = trial.judged(self.data)
        whole = (trial.amount(self.data.valid) + trial.amount(self.data.test)) / trial.amount(few.valid)  # validations
        for mixer in list(best)[: plan.finalists]:
            choice = best[mixer]["choice"]
            pace, seconds = trial.Pace(**best[mixer]["pace"]), plan.seconds / plan.drag
            steps = pace.steps(max(seconds / 3, seconds - whole * pace.check))
            runs = [self._candidate(few, mixer, choice, steps, batch, k) for k in range(self.options.seeds)]
            note = f"{choice['form']}, width {choice['width']}, depth {choice['depth']}, position {choice['position']}"
            entry = {"name": mixer, "kind": "candidate", "note": note, "runs": runs, "choice": choice, "steps": steps}
            found.append({**entry, **self._counted(mixer, choice)})
        return found

    def _candidate(self, few: Dataset, mixer: str, choice: trial.Choice, steps: int, batch: int, k: int) -> Entry:
        def make() -> Entry:
            how = trial.how(choice, steps, batch, trial.seed_of(self.options.seed, "final", k))
            work = self.folder / "work" / f"{mixer}-{k}"
            model, fit = trial.train(few, mixer, choice, how, folder=work)
            where = self._where(f"{mixer} {k}")
            size = saved.write(where, model, self.data, self._opened)
            many = trial.rows_at_once(self.data)
            found = self._run(quality(model, self.data, "valid", many), quality(model, self.data, "test", many))
            shutil.rmtree(work, ignore_errors=True)
            return {**found, "curve": trial.curve(fit), "folder": where.name, "size_mb": size / 1e6, "seed": how.seed}

        body = self.store.once(f"final/{mixer}/{k}", "finalists", make)
        self.say(
            f"finalist: {mixer}, seed {k + 1} of {self.options.seeds}: {self.data.task.measure} {body['valid']:.4f}"
        )
        return body

    def _run(self, valid: Quality, test: Quality) -> Entry:
        """What is kept of one trained model: both measures, and the test split in blocks for the bootstrap."""
        blocks = test.scores.on(self._blocks(len(test.scores.weights)))
        return {"valid": valid.measure, "test": test.measure, "further": test.further, "scores": blocks.tree()}

    def _blocks(self, examples: int) -> list[np.ndarray]:
        """Single rows where rows are independent; stretches of windows for series and text."""
        together = (
            self.data.task.horizon if self.data.task.kind == "forecasting" else 8 if window(self.data.task) else 1
        )
        return blocks_of(examples, max(together, -(-examples // BLOCKS)))

    def _counted(self, mixer: str, choice: trial.Choice) -> Entry:
        model = build(forms.spec(self.data.task, mixer, choice), seed=0)
        counted = self.store.once(f"count/{mixer}", "measuring", lambda: propose.costs(model, typical(self.data, 1)))
        return {"parameters": int(counted["parameters"]), "mflop": counted["mflop"], "spec": model.spec.hash}

    # ---- measuring

    def measure(self, entries: list[Entry]) -> None:
        """Latency of every contender at batch 1 and N, interleaved; peak memory of candidates and the best baseline."""
        for entry in entries:
            entry["best"] = self.chosen(entry)
            entry["size_mb"] = entry["runs"][entry["best"]]["size_mb"]
        sizes = sorted({1, self.options.batch})
        self.say(f"measuring latency of {len(entries)} models")
        found = {n: self.store.once(f"latency/{n}", "measuring", partial(self._latency, entries, n)) for n in sizes}
        for entry in entries:
            entry["latency"] = {str(n): found[n][entry["name"]] for n in sizes}
        weighed = self._weighed(entries)
        self.say(f"measuring peak memory of {len(weighed)} models")
        rows = typical(self.data, self.options.batch)
        where = [self.where(e) for e in weighed]
        peaks = self.store.once(
            "memory", "measuring", lambda: memory.peaks_mb(where, rows.x, rows.lengths, self.folder)
        )
        for entry, peak in zip(weighed, peaks, strict=True):
            entry["memory_mb"] = peak

    def chosen(self, entry: Entry) -> int:
        """The run with the best validation quality: the one that is handed over."""
        return min(range(len(entry["runs"])), key=lambda k: (self.sign * entry["runs"][k]["valid"], k))

    def _weighed(self, entries: list[Entry]) -> list[Entry]:
        plain = [e for e in entries if e["kind"] == "baseline"]
        plain.sort(key=lambda e: (self.sign * valid(e), e["latency"]["1"]["median"]))
        few = plain if self.options.limits.memory_mb is not None else plain[:1]
        return [e for e in entries if e["kind"] == "candidate"] + few

    def _latency(self, entries: list[Entry], size: int) -> dict[str, dict[str, float]]:
        rows = typical(self.data, size)
        models = {e["name"]: saved.read(self.where(e)).model for e in entries}
        calls = {n: _call(m, rows) for n, m in models.items()}
        found: dict[str, Latency] = latencies(calls, LATENCY)
        return {n: v.dump() for n, v in found.items()}

    @property
    def sign(self) -> float:
        return 1.0 if self.data.task.lower_is_better else -1.0

    def where(self, entry: Entry) -> Path:
        """The folder of the run that is handed over."""
        return self.folder / "models" / entry["runs"][entry["best"]]["folder"]

    def _where(self, name: str) -> Path:
        return self.folder / "models" / re.sub(r"[^a-z0-9_]+", "-", name.lower())

    @property
    def _opened(self) -> dict[str, Any]:
        return {"data": self.options.data, **self.options.source}


def valid(entry: Entry) -> float:
    """Validation quality, the mean over seeds."""
    return float(np.mean([run["valid"] for run in entry["runs"]]))


def typical(data: Dataset, size: int) -> Batch:
    """Rows of the test split whose length is nearest to the median."""
    feed = Batches(data.test, data.task, size, tokens=window(data.task))
    order = np.argsort(np.abs(feed.sizes - np.median(feed.sizes)), kind="stable")
    return feed.batch(np.resize(order, size))


def _call(model: Answers, rows: Batch) -> Callable[[], object]:
    def call() -> object:
        with torch.inference_mode():
            return model(rows.x, rows.lengths)

    return call
