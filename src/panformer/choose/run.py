"""`choose`: inspect, propose, search, compare, report; each stage a list of units in the store."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..core.errors import InputError, WriteError, require, writing
from ..data.base import Dataset
from ..data.raw import counted
from ..data.split import split_names
from ..measure.machine import machine, versions
from ..measure.store import FILE, Store
from ..train.interrupt import Interrupted
from . import baselines, outcome, plan, propose, report, saved, summary
from .finals import Entry, Finals
from .options import Options
from .search import Search
from .trial import Pace, judged, opened, probe

FORMAT = 1  # of what units hold

Say = Callable[[str], None]


def choose(options: Options, out: Path, resume: bool, say: Say) -> dict[str, Any]:
    """Run all stages into the folder `out` and return the report; a stopped run goes on with `resume`."""
    began = time.perf_counter()
    check_folder(out, resume)
    plan.check_minutes(options.minutes, 60 * options.minutes, len(propose.asked(options.include, options.exclude)))
    data = opened(options.data, options.source)
    facts = summary.summary(data)
    for line in summary.lines(facts):
        say(line)
    proposal = propose.propose(data, options.limits, options.include, options.exclude)
    say(f"{counted(len(proposal.families), 'mixer')} to try on this data: {', '.join(proposal.families)}")
    try:
        with workspace(out, resume, options, data) as store:
            if store.get("inspect") is None:
                store.put("inspect", "inspect", {}, time.perf_counter() - began)
            return _Run(options, out, store, data, proposal, say, began).stages(facts)
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(f"stopped{_kept(out)}") from None
    except WriteError as fault:
        raise WriteError(f"{fault}{_kept(out)}") from fault


def _kept(out: Path) -> str:
    return f"; what was done is kept in {out}, go on with --resume" if (out / FILE).is_file() else ""


@dataclass
class _Run:
    options: Options
    out: Path
    store: Store
    data: Dataset
    proposal: propose.Proposal
    say: Say
    began: float

    def stages(self, facts: dict[str, Any]) -> dict[str, Any]:
        """All that follows the inspection; every step is a unit of the store or follows from units alone."""
        threads = self._threads()
        finals = Finals(self.data, self.options, self.store, self.out, self.say)
        with require("threadpoolctl", "choose").threadpool_limits(threads):
            plain = [finals.baseline(name) for name in baselines.names(self.data)]
        best, excluded, plans = self._search()
        plans["finals"] = self.store.once("plan/finals", "plan", lambda: self._final_plan(len(best)))
        entries: list[Entry] = [
            *finals.candidates(best, self.proposal.batch, plan.FinalPlan(**plans["finals"])),
            *plain,
        ]
        finals.measure(entries)
        found = outcome.decide(entries, self.options, self.data.task)
        run = self.store.must("run")
        told = {
            "format": FORMAT, "data": facts, "options": self.options.model_dump(), "outcome": found, "contenders": entries,
            "excluded": {**self.proposal.excluded, **excluded}, "search": self.store.stage("search"), "plan": plans,
            "spent": self.store.seconds(), "machine": {**run["machine"], "threads": threads},
            "versions": run["versions"],
        }  # fmt: skip
        self._hand_over(finals, next(e for e in entries if e["name"] == found["winner"]), told)
        report.write(self.out, told)
        self._tidy()
        return told

    def _tidy(self) -> None:
        """What a kill has left half-written goes; checkpoints are of no more use."""
        for left in (self.out / "work", *self.out.glob(".*.tmp-*"), *(self.out / "models").glob(".*")):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)

    def _threads(self) -> int:
        """One thread or all that torch would take, whichever trains a small model faster here."""
        family = next(iter(self.proposal.families.values()))

        def make() -> dict[str, float]:
            found, few = {}, judged(self.data)
            for count in sorted({1, self.store.must("run")["machine"]["threads"]}):
                torch.set_num_threads(count)
                found[str(count)] = probe(few, family.mixer, family.default, self.proposal.batch, 1.0).step
            return found

        found = self.store.once("threads", "probe", make)
        count = int(min(found, key=lambda n: found[n]))
        torch.set_num_threads(count)
        self.say(f"{count} thread{'s' if count > 1 else ''} per model, which is fastest here")
        return count

    def _search(self) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
        """(best trial of each mixer, what was left out and why, the plan)."""
        search = Search(judged(self.data), self.proposal, self.options, self.store, self.say)
        paces: dict[str, Pace] = {}
        excluded: dict[str, str] = {}
        began, planned = time.perf_counter(), self.store.get("plan/search") is not None
        for i, mixer in enumerate(self.proposal.families):
            if not planned:
                many, took = len(self.proposal.families), time.perf_counter() - began
                plan.check_minutes(self.options.minutes, self._left(), many, i, took)
            found = search.first(mixer)[1]
            if isinstance(found, str):
                excluded[mixer] = found
            else:
                paces[mixer] = found
                self.say(f"probe: {mixer} {1000 * found.step:.1f} ms a training step")
        if not paces:
            return {}, excluded, {}
        stored = self.store.once(
            "plan/search", "plan", lambda: plan.search_plan(self.options.minutes, self._left(), paces)
        )
        short = stored.pop("short")
        made = plan.SearchPlan(**stored)
        for mixer in search.screen(made):
            search.refine(mixer, made)
        return search.best(), {**excluded, **short}, {"search": stored}

    def _final_plan(self, found: int) -> dict[str, Any]:
        took = [(t["planned"], t["took"]) for t in self.store.stage("search").values() if "took" in t]
        return vars(plan.final_plan(self._left(), max(1, found), self.options.seeds, took))

    def _left(self) -> float:
        """Seconds of --minutes that neither finished units nor this sitting have used."""
        return 60 * self.options.minutes - max(sum(self.store.seconds().values()), time.perf_counter() - self.began)

    def _hand_over(self, finals: Finals, winner: Entry, told: dict[str, Any]) -> None:
        """The winner's folder again as `best`, with its card."""
        model = saved.read(finals.where(winner)).model
        opened_as = {"data": self.options.data, **self.options.source}
        saved.write(self.out / "best", model, self.data, opened_as, report.card(winner, told))


def spent(out: Path) -> float:
    """Seconds that earlier sittings of the run in this folder took."""
    if not (out / FILE).is_file():
        return 0.0
    with Store(out / FILE) as store:
        return sum(store.seconds().values())


def check_folder(out: Path, resume: bool) -> None:
    """Refuse a folder that holds something else, before anything is read."""
    old = (out / FILE).is_file()
    if resume and not old:
        raise InputError(f"{out}: holds no run to resume")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give another --out")
    if not resume and out.exists() and any(out.iterdir()):
        earlier, other = "holds an earlier run; go on with --resume or", "exists and is not empty;"
        raise InputError(f"{out}: {earlier if old else other} give another --out")


@contextmanager
def workspace(out: Path, resume: bool, options: Options, data: Dataset) -> Iterator[Store]:
    """The run's folder and store. A new run that fails before its first trial leaves no folder behind."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    begun = resume
    try:
        with Store(out / FILE) as store:
            _same_run(store, out, options, data)
            try:
                yield store
            finally:
                begun = begun or bool(store.stage("search"))
    except InputError:
        if not begun:
            shutil.rmtree(out, ignore_errors=True)
        raise


def _same_run(store: Store, out: Path, options: Options, data: Dataset) -> None:
    """A resumed run has the options and data of the first sitting."""
    asked = {"format": FORMAT, "options": options.model_dump(mode="json"), "hash": data.hash}
    run = store.once(
        "run", "plan", lambda: {**asked, "machine": machine(), "versions": versions(), "split": split_names(data)}
    )
    if run.get("format") != FORMAT:
        raise InputError(f"{out}: was begun by another version of panformer; give another --out")
    changed = [n for n, v in options.model_dump(mode="json").items() if run["options"].get(n) != v]
    if changed:
        raise InputError(f"{out}: was begun with other options: {', '.join(changed)}")
    if run["hash"] != data.hash:
        raise InputError(f"{out}: was begun with other data (the content of {data.name} has changed)")
    if not (out / "split.json").is_file():
        report.replace_file(out / "split.json", json.dumps(run["split"]) + "\n")
