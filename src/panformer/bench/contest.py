"""Contestants of one job: compared with the truth first, then timed in turn; rows, goals, and who could not run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import PanformerError
from .race import Runner, relay, timed
from .worker import PeerFault, Worker

OURS = "panformer"
SAME = 1e-3  # relative error of an fp32 peer past which it is not the same model
PAUSE = 0.2  # seconds in which another process's threads go to sleep
OUTSIDE = Path(__file__).parent / "outside"


@dataclass(frozen=True)
class Plan:
    """How a benchmark is run."""

    rounds: int = 5
    threads: int = 1
    device: str = "cpu"
    peers: bool = False
    say: Callable[[str], None] = field(default=lambda line: None)
    keep: Callable[[Mapping[str, Any]], None] = field(default=lambda result: None)  # what is known so far


@dataclass(frozen=True)
class Contestant:
    """One library in one number format, ready to run."""

    name: str
    precision: str
    run: Runner
    answer: Callable[[], Tensor]  # (N, ...), to be compared

    @property
    def full(self) -> str:
        return f"{self.name} {self.precision}"


def ours(precision: str, call: Callable[[], Tensor], answer: Callable[[], Tensor] | None = None) -> Contestant:
    """A contestant of this process; the call that is timed is compared too, unless another one answers."""
    return Contestant(OURS, precision, timed(call), answer or call)


def invite(
    stack: ExitStack,
    python: Path,
    script: Path,
    wanted: Mapping[str, Sequence[str]],
    setup: Mapping[str, Any],
    plan: Plan,
    missing: dict[str, str],
) -> list[Contestant]:
    """Peers from the script, one process for each library; those that fail are named in `missing`."""
    found = []
    answers = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    for library, precisions in wanted.items():
        worker = stack.enter_context(Worker(python, script, plan.threads))
        for precision in precisions:
            began = time.perf_counter()
            asked = {"library": library, "precision": precision, "threads": plan.threads}
            try:
                worker.ask(do="load", **setup, **asked)
            except PeerFault as fault:
                missing[f"{library} {precision}"] = str(fault)
                plan.say(f"  {library} {precision} cannot run: {fault}")
                continue
            plan.say(f"  loaded {library} {precision} in {time.perf_counter() - began:.0f} s")
            run = partial(_round, worker, library, precision)
            file = answers / f"{library}-{precision}.npy"
            found.append(Contestant(library, precision, run, partial(_answer, worker, library, precision, file)))
    return found


def contest(
    task: str,
    contestants: Iterable[Contestant],
    plan: Plan,
    items: int,
    unit: str,
    compare: Callable[[Tensor, Tensor], dict[str, float]],
    missing: dict[str, str],
    flops: float = 0.0,
    limits: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """One row for each contestant. The first one's answer is the truth that the others are compared with.

    An fp32 peer that answers otherwise is not the same model and does not race. `flops` of one run over `limits` of its
    precision is the share of the limit that was reached.
    """
    truth: Tensor | None = None
    racing: list[tuple[Contestant, dict[str, float]]] = []
    for one in contestants:
        answer = one.answer().float()
        truth = answer if truth is None else truth
        gap = {"error": largest_gap(answer, truth), **compare(answer, truth)}
        if one.precision == "fp32" and gap["error"] > SAME:
            missing[one.full] = f"not the same model: answers differ by {gap['error']:.1e}"
            continue
        racing.append((one, gap))
    plan.say(f"  racing {', '.join(one.full for one, _ in racing)}")
    pause = PAUSE if {one.name for one, _ in racing} != {OURS} else 0.0
    times = relay({one.full: one.run for one, _ in racing}, plan.rounds, pause)
    rows = []
    for one, gap in racing:
        took = times[one.full]
        row: dict[str, Any] = {"task": task, "contestant": one.name, "precision": one.precision, "unit": f"{unit}/s"}
        row |= {"rate": round(items / took.median, 3), **{k: float(f"{v:.4g}") for k, v in gap.items()}}
        limit = (limits or {}).get(one.precision)
        if limit:
            row["share_of_matmul_limit"] = round(flops / took.median / limit, 3)
        rows.append({**row, "seconds": took})
    return rows


def goal(
    says: str,
    rows: Sequence[Mapping[str, Any]],
    precision: str,
    wanted: float,
    against: Sequence[str],
    of: str | None = None,
) -> dict[str, Any] | None:
    """Our rate over that of the fastest peer in the precisions `against` (only `of`, if named); None without such a peer."""
    mine = [r for r in rows if r["contestant"] == OURS and r["precision"] == precision]
    theirs = [
        r for r in rows if r["contestant"] != OURS and r["precision"] in against and of in (None, r["contestant"])
    ]
    if not mine or not theirs:
        return None
    best = max(theirs, key=lambda r: r["rate"])
    reached = mine[0]["rate"] / best["rate"]
    return {
        "task": mine[0]["task"], "goal": says, "wanted": wanted, "reached": round(reached, 3),
        "against": f"{best['contestant']} {best['precision']}", "met": reached >= wanted,
    }  # fmt: skip


def largest_gap(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference relative to the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(torch.finfo(theirs.dtype).tiny))


def _round(worker: Worker, library: str, precision: str) -> float:
    try:
        return float(worker.ask(do="round", precision=precision)["seconds"])
    except PeerFault as fault:
        raise PanformerError(f"bench: {library} {precision} failed in the race: {fault}") from None


def _answer(worker: Worker, library: str, precision: str, file: Path) -> Tensor:
    try:
        worker.ask(do="answer", precision=precision, to=str(file))
    except PeerFault as fault:
        raise PanformerError(f"bench: {library} {precision} gave no answer: {fault}") from None
    return torch.from_numpy(np.load(file))
