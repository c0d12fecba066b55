"""One token after a long past: what a step takes, and how much state it carries, as the past grows."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch

from ..core import state as states
from ..core.errors import InputError
from ..core.families import Mixer
from ..core.layout import Layout
from ..core.part import config, find, known
from .contest import OURS, OUTSIDE, PAUSE, Plan
from .long import JOBS, SDPA, TRANSFORMERS, WIDTH
from .race import Runner, Time, relay
from .venv import prepare
from .worker import PeerFault, Worker

LENGTHS = (1024, 4096, 16384, 65536, 102400)  # tokens read before
CHUNK = 1024  # tokens read at once
STEPS = 40  # of one turn, one after the other
LONGEST = 25.0  # seconds of reading on, past which a mixer is left out from there
NEAR = 0.1  # how far the exponent of a step's time may lie from 0 where the cost is declared to be in proportion
GROWS = 0.5  # least exponent of the control, in whose longest pasts reading them outweighs all else
PEERS: Mapping[str, tuple[str, str]] = {"Mamba": ("transformers", TRANSFORMERS)}  # job -> (library, requirement)


def step(
    plan: Plan,
    jobs: Mapping[str, Mapping[str, Any]] | None = None,
    lengths: tuple[int, ...] = LENGTHS,
    width: int = WIDTH,
    steps: int = STEPS,
) -> dict[str, Any]:
    """One token of one layer of width 512, batch 1, fp32, once so many tokens were read: every mixer that streams, in
    turn."""
    if plan.device != "cpu":
        raise InputError("bench step races on a CPU; leave --device out")
    jobs = streaming(width) if jobs is None else jobs
    readers = {name: Reader(tree, width) for name, tree in jobs.items()}
    rows: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    with ExitStack() as stack, torch.inference_mode():
        peers = _peers(stack, plan, jobs, missing)
        for length in lengths:
            runners: dict[tuple[str, str], Runner] = {}
            for name, reader in readers.items():
                if name not in missing:
                    why = reader.read(length)
                    if why is None:
                        runners[name, OURS] = partial(reader.run, steps)
                    else:
                        missing[name] = f"from {length} tokens on: {why}"
            for name, worker in peers.items():
                key = f"{PEERS[name][0]}, {name}"
                if key in missing:
                    continue
                try:
                    worker.ask(do="load", precision="fp32", width=width, length=length, steps=steps,
                               longest=LONGEST, threads=plan.threads)  # fmt: skip
                    runners[name, PEERS[name][0]] = partial(_rested, worker, steps)
                except PeerFault as fault:
                    missing[key] = f"from {length} tokens on: {fault}"
            plan.say(f"  after {length} tokens: {len(runners)} contestants")
            for (name, who), took in _raced(runners, plan.rounds).items():
                held = states.size(readers[name].state) if who == OURS else None
                rows.append(_row(name, who, length, took, held))
            plan.keep(_told(rows, readers, {**missing, "longer": f"the run ended after {length} tokens"}, width, plan))
    return _told(rows, readers, missing, width, plan)


def streaming(width: int = WIDTH) -> dict[str, Mapping[str, Any]]:
    """Causal softmax attention, then every mixer that streams: those of `bench long`, and any other part, by its name."""
    found = {name: job.ours for name, job in JOBS.items() if _streams(job.ours, width)}
    raced = {tree["use"] for tree in found.values()}
    for use in known("mixers"):
        fields = find("mixers", use).Config.model_fields
        tree: dict[str, Any] = {"use": use}
        tree |= {"heads": 8} if "heads" in fields else {}
        tree |= {"causal": True} if "causal" in fields else {}
        if use not in raced and _streams(tree, width):
            found[use] = tree
    return {SDPA: found.pop(SDPA), **found}


class Reader:
    """One mixer, its state, and how many tokens that has read."""

    def __init__(self, tree: Mapping[str, Any], width: int) -> None:
        self.mixer = _built(tree, width)
        self.rng, self.width = torch.Generator().manual_seed(0), width
        self.state = self.mixer.start(1, torch.zeros(1, 1, width))
        self.seen = 0

    def read(self, length: int) -> str | None:
        """Read on until `length` tokens were read; why not, where that takes too long or is refused."""
        began, first = time.perf_counter(), self.seen
        while self.seen < length:
            count = min(CHUNK, length - self.seen)
            x = torch.randn(1, count, self.width, generator=self.rng)
            try:
                self.state = self.mixer.advance(x, Layout.dense(1, count, self.seen), self.state)
            except InputError as refusal:
                return str(refusal)
            self.seen += count
            took = time.perf_counter() - began
            if took * (length - first) / (self.seen - first) > LONGEST:
                return f"reading on would take over {LONGEST:.0f} s"
        return None

    def run(self, steps: int) -> float:
        """Seconds of one step, over so many that follow each other; one more before them is not counted."""
        x = torch.randn(1, 1, self.width, generator=self.rng)
        places = [Layout.dense(1, 1, self.seen + i) for i in range(steps + 1)]
        state, began = self.state, 0.0
        for i, at in enumerate(places):
            if i == 1:
                began = time.perf_counter()
            _, state = self.mixer.step(x, at, state)
        took = time.perf_counter() - began
        self.state, self.seen = state, self.seen + steps + 1
        return took / steps


def _raced(runners: Mapping[tuple[str, str], Runner], rounds: int) -> dict[tuple[str, str], Time]:
    names = {f"{name}, {who}": (name, who) for name, who in runners}
    times = relay({n: runners[key] for n, key in names.items()}, rounds)
    return {names[n]: took for n, took in times.items()}


def _peers(stack: ExitStack, plan: Plan, jobs: Mapping[str, Any], missing: dict[str, str]) -> dict[str, Worker]:
    """The public packages, each in a process that lives as long as the stack."""
    found: dict[str, Worker] = {}
    for name, (who, wants) in PEERS.items() if plan.peers else ():
        if name in jobs:
            python, failed = prepare("long", ("torch==2.13.0", "numpy", wants), plan.say)
            if failed:
                missing[f"{who}, {name}"] = next(iter(failed.values()))
            else:
                found[name] = stack.enter_context(Worker(python, OUTSIDE / "peer_step.py", plan.threads))
    return found


def _rested(worker: Worker, steps: int) -> float:
    """A turn of a peer, between pauses in which the threads of the other process go to sleep."""
    time.sleep(PAUSE)
    took = float(worker.ask(do="round", precision="fp32")["seconds"]) / steps
    time.sleep(PAUSE)
    return took


def _streams(tree: Mapping[str, Any], width: int) -> bool:
    try:
        mixer = _built(tree, width)
    except InputError:  # it needs options that only its user can give
        return False
    return mixer.causal and mixer.streams and not mixer.needs


def _built(tree: Mapping[str, Any], width: int) -> Mixer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mixer: Mixer = config("mixers", tree).build(width)
        return mixer.eval()


def _row(job: str, who: str, length: int, took: Time, held: int | None) -> dict[str, Any]:
    form = f"after {length} tokens" + ("" if held is None else f", state of {held / 1024:.4g} KiB")
    return {
        "task": job, "contestant": who, "form": form, "precision": "fp32", "length": length, "unit": "tokens/s",
        "rate": round(1 / took.median, 1), "state_bytes": held, "seconds": took,
    }  # fmt: skip


def _told(
    rows: list[dict[str, Any]], readers: Mapping[str, Reader], missing: Mapping[str, str], width: int, plan: Plan
) -> dict[str, Any]:
    growth = _growth(rows, {name: reader.mixer.growth for name, reader in readers.items()})
    return {
        "suite": "step", "what": step.__doc__, "rows": list(rows), "goals": _goals(rows, growth), "growth": growth,
        "missing": dict(missing), "size": {"width": width, "batch": 1}, "rounds": plan.rounds, "device": "cpu",
        "axes": ["tokens read before", "seconds of a step"],
    }  # fmt: skip


def _growth(rows: list[dict[str, Any]], declared: Mapping[str, str]) -> list[dict[str, Any]]:
    """For each of ours: the exponents of a step's time and of the state's bytes in the tokens read before."""
    out = []
    for name, growth in declared.items():
        mine = [r for r in rows if r["task"] == name and r["contestant"] == OURS]
        time_of = {r["length"]: r["seconds"].median for r in mine}
        bytes_of = {r["length"]: r["state_bytes"] for r in mine}
        late = {n: t for n, t in time_of.items() if n >= max(time_of) / 8}
        out.append({"task": name, "declared": growth, "time of a step": fitted(time_of),
                    "its late part": fitted(late), "state": fitted(bytes_of)})  # fmt: skip
    return out


def fitted(costs: Mapping[int, float]) -> float | None:
    """The exponent of cost in length, by least squares over the logarithms; 0 where nothing is ever held."""
    if len(costs) < 2:
        return None
    if min(costs.values()) <= 0:
        return 0.0 if not any(costs.values()) else None
    slope = np.polyfit([math.log(n) for n in costs], [math.log(c) for c in costs.values()], 1)[0]
    return round(float(slope), 3) + 0.0


def _goals(rows: list[dict[str, Any]], growth: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What declares a cost in proportion to the tokens has steps that stay as they are, and so does its state."""
    found: list[dict[str, Any]] = []

    def add(task: str, says: str, wanted: float, reached: float, met: bool, **more: str) -> None:
        found.append({"task": task, "goal": says, "wanted": wanted, "reached": reached, "met": met, **more})

    for told in growth:
        name, slope, late, held = (told[k] for k in ("task", "time of a step", "its late part", "state"))
        if name == SDPA and late is not None:
            says = "exponent of a step's time over the longest pasts, the control, at least"
            add(name, says, GROWS, late, late >= GROWS)
        if told["declared"] == "n" and slope is not None:
            add(name, "exponent of a step's time, within", NEAR, slope, abs(slope) <= NEAR)
            add(name, "exponent of the state's bytes, at most", 0.0, held or 0.0, held is not None and held <= 0)
    rate = {(r["task"], r["contestant"], r["length"]): r["rate"] for r in rows}
    for (name, who, length), theirs in rate.items():
        if who != OURS and (name, OURS, length) in rate:
            ratio = rate[name, OURS, length] / theirs
            add(name, f"after {length} tokens", 1.0, round(ratio, 3), ratio >= 1, against=who)
    return found
