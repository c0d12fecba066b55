"""`choose`: inspect, propose, search, compare, report; each stage a list of units in the store."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..core.errors import InputError, require
from ..data.base import Dataset
from ..data.split import split_names
from ..measure.machine import machine, versions
from ..train.interrupt import Interrupted
from . import baselines, outcome, plan, propose, report, saved, summary
from .finals import Entry, Finals
from .options import Options
from .search import Search
from .store import FILE, Store
from .trial import Pace, judged, opened, probe

Say = Callable[[str], None]


def choose(options: Options, out: Path, resume: bool, say: Say) -> dict[str, Any]:
    """Run all stages into the folder `out` and return the report; a stopped run goes on with `resume`."""
    began = time.perf_counter()
    data = opened(options.data, options.source)
    facts = summary.summary(data)
    for line in summary.lines(facts):
        say(line)
    proposal = propose.propose(data, options.limits, options.include, options.exclude)
    say(f"{len(proposal.families)} mixers fit this data: {', '.join(proposal.families)}")
    with workspace(out, resume, options, data) as store:
        if store.get("inspect") is None:
            store.put("inspect", "inspect", {}, time.perf_counter() - began)
        try:
            return _stages(options, out, store, data, facts, proposal, say)
        except (KeyboardInterrupt, Interrupted):
            raise Interrupted(f"stopped; what was done is kept in {out}, go on with --resume") from None


def _stages(
    options: Options,
    out: Path,
    store: Store,
    data: Dataset,
    facts: dict[str, Any],
    proposal: propose.Proposal,
    say: Say,
) -> dict[str, Any]:
    finals = Finals(data, options, store, out, say)
    threads = _threads(store, data, proposal)
    say(f"{threads} thread{'s' if threads > 1 else ''} per model, which is fastest here")
    with require("threadpoolctl", "choose").threadpool_limits(threads):
        plain = [finals.baseline(name) for name in baselines.names(data)]
    search = Search(judged(data), proposal, options, store, say)
    found, excluded, plans = _search(search, options)
    kept = store.once(
        "plan/finals", "plan", lambda: vars(plan.final_plan(_left(store, options), len(found), options.seeds))
    )
    tried = finals.candidates(found, proposal.batch, plan.FinalPlan(**kept)) if found else []
    entries: list[Entry] = [*tried, *plain]
    finals.measure(entries)
    judged_ = outcome.decide(entries, options, data.task)
    winner = next(e for e in entries if e["name"] == judged_["winner"])
    told = {
        "format": 1, "data": facts, "options": options.model_dump(), "outcome": judged_, "contenders": entries,
        "excluded": {**proposal.excluded, **excluded}, "search": store.stage("search"), "plan": {**plans, "finals": kept},
        "spent": store.seconds(), "machine": {**store.get("run")["machine"], "threads": threads}, "versions": store.get("run")["versions"],
    }  # fmt: skip
    _hand_over(finals, winner, data, told)
    report.write(out, told)
    return told


def _threads(store: Store, data: Dataset, proposal: propose.Proposal) -> int:
    """One thread or all that torch would take, whichever trains a small model faster: on a busy machine often one."""
    family = next(iter(proposal.families.values()))

    def make() -> dict[str, float]:
        found = {}
        for count in sorted({1, store.get("run")["machine"]["threads"]}):
            torch.set_num_threads(count)
            found[str(count)] = probe(data, family.mixer, family.default, proposal.batch, 1.0).step
        return found

    found = store.once("threads", "probe", make)
    count = int(min(found, key=lambda n: found[n]))
    torch.set_num_threads(count)
    return count


def _search(search: Search, options: Options) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    """(best trial of each mixer, what was left out and why, the plan)."""
    paces: dict[str, Pace] = {}
    excluded: dict[str, str] = {}
    for mixer in search.proposal.families:
        _, found = search.first(mixer)
        if isinstance(found, str):
            excluded[mixer] = found
        else:
            paces[mixer] = found
            search.say(f"probe: {mixer} {1000 * found.step:.1f} ms a training step")
    if not paces:
        return {}, excluded, {}

    def make() -> dict[str, Any]:
        made, short = plan.search_plan(options.minutes, _left(search.store, options), paces)
        return {**vars(made), "short": short}

    stored = search.store.once("plan/search", "plan", make)
    short = stored.pop("short")
    made = plan.SearchPlan(**{**stored, "mixers": tuple(stored["mixers"])})
    best = search.screen(made)
    for mixer in best:
        search.refine(mixer, made)
    return search.best(), {**excluded, **short}, {"search": stored}


def _left(store: Store, options: Options) -> float:
    """Seconds of --minutes that finished units have not used."""
    return 60 * options.minutes - sum(store.seconds().values())


def _hand_over(finals: Finals, winner: Entry, data: Dataset, told: dict[str, Any]) -> None:
    """The winner's folder again as `best`, with its card."""
    model = saved.read(finals.where(winner)).model
    opened = {"data": finals.options.data, **finals.options.source}
    saved.write(finals.folder / "best", model, data, opened, report.card(winner, told))


@contextmanager
def workspace(out: Path, resume: bool, options: Options, data: Dataset) -> Iterator[Store]:
    """The run's folder and store. A new run that fails before its first trial leaves no folder behind."""
    old = (out / FILE).is_file()
    if resume and not old:
        raise InputError(f"{out}: holds no run to resume")
    if not resume and out.exists() and (not out.is_dir() or any(out.iterdir())):
        told = (
            "holds an earlier run; go on with --resume or give another --out"
            if old
            else "exists and is not empty; give another --out"
        )
        raise InputError(f"{out}: {told}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise InputError(f"{out}: cannot be written ({fault.strerror or fault})") from None
    with Store(out / FILE) as store:
        try:
            _same_run(store, out, options, data)
            yield store
        except InputError:
            if not resume and not store.stage("search"):
                shutil.rmtree(out, ignore_errors=True)
            raise


def _same_run(store: Store, out: Path, options: Options, data: Dataset) -> None:
    """A resumed run has the options and data of the first sitting."""
    asked = {"options": options.model_dump(mode="json"), "hash": data.hash}
    run = store.once(
        "run", "plan", lambda: {**asked, "machine": machine(), "versions": versions(), "split": split_names(data)}
    )
    changed = [n for n, v in asked["options"].items() if run["options"].get(n) != v]
    if changed:
        raise InputError(f"{out}: was begun with other options: {', '.join(changed)}")
    if run["hash"] != data.hash:
        raise InputError(f"{out}: was begun with other data (the content of {data.name} has changed)")
    if not (out / "split.json").is_file():
        (out / "split.json").write_text(json.dumps(run["split"]) + "\n")
