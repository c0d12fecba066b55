"""One token after a long past: what a step takes, and how much state it carries, as the past grows."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch

from ..core import state as states
from ..core.errors import InputError
from ..core.families import Mixer
from ..core.layout import Layout
from ..core.part import find, known
from .contest import OURS, OUTSIDE, PAUSE, Plan
from .jobs import JOBS, SDPA, TRANSFORMERS, WIDTH, built
from .race import Runner, Time, relay
from .venv import prepare
from .worker import PeerFault, Worker

LENGTHS = (1024, 4096, 16384, 65536, 102400)  # tokens read before
CHUNK = 1024  # tokens read at once
STEPS = 40  # of one turn, one after the other
ENOUGH = 0.5  # seconds of one turn, in which slow ones make fewer steps
LONGEST = 15.0  # seconds of reading on, past which a mixer is left out from there
NEAR = 0.1  # how far the exponent of a recurrence's steps may lie from 0
GROWS = 0.5  # least exponent of the control
SMALL = 2**23  # bytes of a state that is kept at every length
PEERS: Mapping[str, tuple[str, str]] = {"Mamba": ("transformers", TRANSFORMERS)}  # job -> (library, requirement)
Place = tuple[str, int]  # a job, or a peer and its job, and how many tokens were read


def step(
    plan: Plan,
    jobs: Mapping[str, Mapping[str, Any]] | None = None,
    lengths: tuple[int, ...] = LENGTHS,
    width: int = WIDTH,
    steps: int = STEPS,
) -> dict[str, Any]:
    """One token of one layer of width 512, batch 1, fp32, once so many tokens were read: every mixer that streams. All
    lengths of one are timed in the same rounds, but where a state is large."""
    if plan.device != "cpu":
        raise InputError("bench step races on a CPU; leave --device out")
    jobs = streaming(width) if jobs is None else jobs
    readers = {name: Reader(tree, width) for name, tree in jobs.items()}
    rows: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    small: dict[Place, Decoder] = {}
    with ExitStack() as stack, torch.inference_mode():
        for length in lengths:
            large: dict[Place, Decoder] = {}
            for name, reader in readers.items():
                why = missing.get(name) or reader.read(length)
                if why is not None:
                    missing.setdefault(name, f"from {length} tokens on: {why}")
                    continue
                (small if reader.bytes <= SMALL else large)[name, length] = reader.decoder()
            plan.say(f"  {length} tokens were read")
            rows += _raced({place: partial(one.run, steps) for place, one in large.items()}, large, plan.rounds)
            plan.keep(_told(rows, readers, {**missing, "the rest": f"the run ended at {length} tokens"}, width, plan))
        runners: dict[Place, Runner] = {place: partial(one.run, steps) for place, one in sorted(small.items())}
        runners |= _peers(stack, plan, jobs, lengths, width, steps, missing)
        plan.say(f"  racing {len(runners)}")
        rows += _raced(runners, small, plan.rounds)
    rows.sort(key=lambda r: (list(jobs).index(r["task"]), r["contestant"], r["length"]))
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


class Decoder:
    """A mixer after a past: each step goes on from the one before."""

    def __init__(self, mixer: Mixer, state: Any, seen: int, width: int) -> None:
        self.mixer, self.state, self.seen = mixer, state, seen
        self.x = torch.randn(1, 1, width)

    def run(self, steps: int) -> float:
        """Seconds of one step, over so many that follow each other; one more before them is not counted."""
        first = self._follow(1)
        return self._follow(max(1, min(steps, int(ENOUGH / first))))

    def _follow(self, steps: int) -> float:
        places = [Layout.dense(1, 1, self.seen + i) for i in range(steps)]
        began = time.perf_counter()
        for at in places:
            _, self.state = self.mixer.step(self.x, at, self.state)
        took = time.perf_counter() - began
        self.seen += steps
        return took / steps


class Reader:
    """One mixer, its state, and how many tokens that has read."""

    def __init__(self, tree: Mapping[str, Any], width: int) -> None:
        self.mixer = built(tree, width)
        self.rng, self.width = torch.Generator().manual_seed(0), width
        self.state = self.mixer.start(1, torch.zeros(1, 1, width))
        self.recurrent = self.bytes > 0  # it has a state before the first token: that is no list of tokens
        self.seen = 0

    @property
    def bytes(self) -> int:
        return states.size(self.state)

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

    def decoder(self) -> Decoder:
        """What goes on from here, and leaves the reader as it is."""
        return Decoder(self.mixer, self.state, self.seen, self.width)


def _raced(runners: Mapping[Place, Runner], ours: Mapping[Place, Decoder], rounds: int) -> list[dict[str, Any]]:
    names = {f"{name}, {length}": (name, length) for name, length in runners}
    times = relay({n: runners[place] for n, place in names.items()}, rounds)
    return [_row(*names[n], took, ours.get(names[n])) for n, took in times.items()]


def _peers(
    stack: ExitStack, plan: Plan, jobs: Mapping[str, Any], lengths: tuple[int, ...], width: int, steps: int,
    missing: dict[str, str],
) -> dict[Place, Runner]:  # fmt: skip
    """The public packages, each in a process of its own, at the longest past that it reads in time."""
    found: dict[Place, Runner] = {}
    for name, (who, wants) in PEERS.items() if plan.peers else ():
        if name not in jobs:
            continue
        python, failed = prepare("long", ("torch==2.13.0", "numpy", wants), plan.say)
        if failed:
            missing[f"{who}, {name}"] = next(iter(failed.values()))
            continue
        worker = stack.enter_context(Worker(python, OUTSIDE / "peer_step.py", plan.threads))
        asked = {"width": width, "steps": steps, "longest": LONGEST, "threads": plan.threads}
        run = partial(rested, worker, steps)
        for length in lengths:
            try:
                worker.ask(do="load", precision="fp32", length=length, **asked)
                found = {p: r for p, r in found.items() if r is not run} | {(f"{who}, {name}", length): run}
            except PeerFault as fault:
                missing[f"{who}, {name}"] = f"from {length} tokens on: {fault}"
                break
    return found


def rested(worker: Worker, steps: int = 1, precision: str = "fp32") -> float:
    """A turn of a peer, between pauses in which the threads of the other process go to sleep."""
    time.sleep(PAUSE)
    took = float(worker.ask(do="round", precision=precision)["seconds"]) / steps
    time.sleep(PAUSE)
    return took


def _streams(tree: Mapping[str, Any], width: int) -> bool:
    try:
        mixer = built(tree, width)
    except InputError:  # it needs options that only its user can give
        return False
    return mixer.causal and mixer.streams and not mixer.needs and any(True for _ in mixer.parameters())


def _row(name: str, length: int, took: Time, decoder: Decoder | None) -> dict[str, Any]:
    """`name` is a job, or a peer and its job; a decoder is ours."""
    held = None if decoder is None else states.size(decoder.state)
    who, _, job = (OURS, "", name) if decoder is not None else name.partition(", ")
    form = f"after {length} tokens" + ("" if held is None else f", state of {held / 1024:,.0f} KiB")
    return {
        "task": job, "contestant": who, "form": form, "precision": "fp32", "length": length, "unit": "tokens/s",
        "rate": round(1 / took.median, 1), "state_bytes": held, "seconds": took,
    }  # fmt: skip


def _told(
    rows: list[dict[str, Any]], readers: Mapping[str, Reader], missing: Mapping[str, str], width: int, plan: Plan
) -> dict[str, Any]:
    growth = _growth(rows, {name: reader.mixer.growth for name, reader in readers.items()})
    recurrent = {name for name, reader in readers.items() if reader.recurrent}
    goals = _goals(rows, growth, recurrent)
    return {
        "suite": "step", "what": step.__doc__, "rows": list(rows), "goals": goals, "growth": growth,
        "missing": dict(missing), "size": {"width": width, "batch": 1}, "rounds": plan.rounds, "device": "cpu",
        "axes": ["tokens read before", "seconds of a step"],
    }  # fmt: skip


def _growth(rows: list[dict[str, Any]], declared: Mapping[str, str]) -> list[dict[str, Any]]:
    """For each of ours: the exponents of a step's time and of the state's bytes in the tokens read before."""
    out = []
    for name, growth in declared.items():
        mine = [r for r in rows if r["task"] == name and r["contestant"] == OURS]
        slope = fitted({r["length"]: r["seconds"].median for r in mine})
        held = fitted({r["length"]: r["state_bytes"] for r in mine})
        out.append({"task": name, "declared": growth, "time of a step": slope, "state": held})
    return out


def fitted(costs: Mapping[int, float]) -> float | None:
    """The exponent of cost in length, by least squares over the logarithms; 0 where nothing is ever held."""
    if len(costs) < 2:
        return None
    if min(costs.values()) <= 0:
        return 0.0 if not any(costs.values()) else None
    slope = np.polyfit([math.log(n) for n in costs], [math.log(c) for c in costs.values()], 1)[0]
    return round(float(slope), 3) + 0.0


def _goals(
    rows: list[dict[str, Any]], growth: list[dict[str, Any]], recurrent: Collection[str]
) -> list[dict[str, Any]]:
    """A recurrence has steps that take the same however much was read, and a state that never grows; others' exponents
    are told without a goal."""
    found: list[dict[str, Any]] = []

    def add(task: str, says: str, wanted: float, reached: float, met: bool, **more: str) -> None:
        found.append({"task": task, "goal": says, "wanted": wanted, "reached": reached, "met": met, **more})

    for told in growth:
        name, slope, held = (told[k] for k in ("task", "time of a step", "state"))
        if name == SDPA and slope is not None:
            add(name, "exponent of a step's time, the control, at least", GROWS, slope, slope >= GROWS)
        if name in recurrent and slope is not None:
            add(name, "exponent of a step's time, within", NEAR, slope, abs(slope) <= NEAR)
            add(name, "exponent of the state's bytes, at most", 0.0, held or 0.0, held is not None and held <= 0)
    rate = {(r["task"], r["contestant"], r["length"]): r["rate"] for r in rows}
    for (name, who, length), theirs in rate.items():
        if who != OURS and (name, OURS, length) in rate:
            ratio = rate[name, OURS, length] / theirs
            add(name, f"after {length} tokens", 1.0, round(ratio, 3), ratio >= 1, against=who)
    return found
