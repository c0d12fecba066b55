"""One mixer over one long sequence, beside causal softmax attention and beside its public peer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Mixer
from ..core.layout import Layout
from ..core.memory import give_back, installed, peak, peak_from_here
from ..core.part import config
from ..measure.cost import of_step
from .contest import OURS, OUTSIDE, PAUSE, Plan
from .race import Runner, Time, relay, timed
from .venv import prepare
from .worker import PeerFault, Worker

WIDTH = 512
LENGTHS = (1024, 4096, 16384, 65536)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
FORWARD, BOTH = "forward", "forward and backward"
LONGEST = 8.0  # seconds of one pass past which an input is left out
ROOM = 0.5  # of the machine's memory, past which an input is left out, too
ENOUGH = 1.2  # seconds of one race; what takes them in one pass has one counted pass
COUNTED = (4096, 16384)  # tokens at which the memory of a step is counted
NEAR, NEARER = 0.15, 0.1  # how far an exponent may lie over the declared one, and that of a recurrence
# from 4096 to 65536 tokens
EXPONENT = {"n": 1.0, "n log n": 1 + math.log(16 / 12, 16), "n^(4/3)": 4 / 3, "n^1.5": 1.5, "n^2": 2.0}
SDPA = "softmax attention"


class Job(NamedTuple):
    """A mixer of ours, and how many times faster than public ones it shall be over both passes (forward alone: once)."""

    ours: Mapping[str, Any]
    peers: Mapping[str, tuple[str, float]] = {}  # name -> (requirement, wanted)
    near: float = NEAR


DILATED = {"use": "dilated", "segments": [1024, 4096, 16384], "rates": [1, 4, 16]}
TRANSFORMERS, FLA = "transformers==5.23.0", "fla-core==0.6.0"
JOBS: Mapping[str, Job] = {
    SDPA: Job({"use": "attention", "heads": 8, "causal": True}),
    "attention in a window of 512": Job(
        {"use": "attention", "heads": 8, "causal": True, "window": 512},
        {"local-attention": ("local-attention==1.11.2", 1.5)},
    ),
    "linear attention": Job(
        {"use": "linear_attention", "heads": 8, "causal": True},
        {"performer-pytorch": ("performer-pytorch==1.1.4", 5.0)},
    ),
    "retention": Job({"use": "retention", "heads": 8}, near=NEARER),
    "gated linear attention": Job(
        {"use": "gated_linear_attention", "heads": 8}, {"fla stepwise": (FLA, 1.0)}, near=NEARER
    ),
    "delta rule": Job(
        {"use": "delta_net", "heads": 8}, {"fla stepwise": (FLA, 5.0), "fla chunked": (FLA, 1.0)}, near=NEARER
    ),
    "gated delta rule": Job(
        {"use": "gated_delta_net", "heads": 8}, {"fla stepwise": (FLA, 5.0), "fla chunked": (FLA, 1.0)}, near=NEARER
    ),
    "Mamba": Job(
        {"use": "mamba"}, {"mambapy": ("mambapy==1.2.0", 5.0), "transformers": (TRANSFORMERS, 100.0)}, near=NEARER
    ),
    "Mamba-2": Job({"use": "mamba2"}, near=NEARER),
    "RWKV": Job({"use": "rwkv"}, {"transformers": (TRANSFORMERS, 5.0)}, near=NEARER),
    "Nystroem attention": Job(
        {"use": "nystromformer", "heads": 8, "landmarks": 64, "conv": 33},
        {"nystrom-attention": ("nystrom-attention==0.0.14", 1.0)},
    ),
    "Fourier": Job({"use": "fourier"}),
    "strided pattern": Job({"use": "attention", "heads": 8, "causal": True, "pattern": "strided"}),
    "LongNet": Job({"use": "attention", "heads": 8, "causal": True, "pattern": DILATED}),
    "Combiner": Job({"use": "combiner", "heads": 8, "causal": True}),
    "BiFormer": Job({"use": "bi_former", "heads": 8}),
    "MRA-2": Job({"use": "multi_resolution", "heads": 8}),
    "SLA": Job({"use": "sparse_linear_attention", "heads": 8}),
    "routing": Job(
        {"use": "routing_attention", "heads": 8, "clusters": 128, "window": 128, "causal": True},
        {"routing-transformer": ("routing-transformer==1.6.1", 1.0)},
    ),
    "LSH attention": Job({"use": "lsh_attention", "heads": 8, "buckets": 128, "window": 64, "causal": True}),
    "KDEformer": Job({"use": "kde_former", "heads": 8}),
    "Linformer": Job(
        {"use": "linformer", "heads": 8, "length": LENGTHS[-1], "rank": 64}, {"linformer": ("linformer==0.2.3", 1.0)}
    ),
    "agent attention": Job({"use": "agent_attention", "heads": 8, "agents": 64}),
    "FIT": Job({"use": "fit", "heads": 8}),
    "Hedgehog": Job({"use": "linear_attention", "heads": 8, "causal": True, "feature": "hedgehog"}),
    "cosine attention": Job({"use": "cosine_attention", "heads": 8, "causal": True}),
    "kernel attention with a relative bias": Job({"use": "toeplitz_attention", "heads": 32, "position": "t5"}),
    "attention between channels": Job({"use": "cross_covariance", "heads": 8}),
    "LION": Job({"use": "lion", "heads": 8, "decay": "selective"}, near=NEARER),
    "Hyena": Job({"use": "hyena", "causal": True}, near=NEARER),
    "Hydra": Job({"use": "hydra", "heads": 8}, near=NEARER),
    "Aaren": Job({"use": "aaren", "heads": 8}, near=NEARER),
    "Megalodon": Job({"use": "megalodon", "heads": 1, "chunk": 1024}, near=NEARER),
    "minGRU": Job({"use": "min_gru"}, near=NEARER),
    "LMU": Job({"use": "lmu"}, near=NEARER),
}


def long(
    plan: Plan, jobs: Mapping[str, Job] = JOBS, lengths: tuple[int, ...] = LENGTHS, width: int = WIDTH
) -> dict[str, Any]:
    """One layer of width 512 over one sequence, forward alone and with its backward pass; peers have the same sizes and
    weights of their own."""
    if plan.device != "cpu":
        raise InputError("bench long races on a CPU; leave --device out")
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        peers = _Peers(stack, plan, width)
        missing = peers.missing
        for form in (f"{p}, {way}" for p in PRECISIONS for way in (FORWARD, BOTH)):
            last: dict[str, list[tuple[int, float]]] = {}  # tokens and seconds so far; of ours also bytes
            for length in lengths:
                for name, job in jobs.items():
                    found = _race(name, job, form, length, width, plan, peers, last)
                    rows += [_row(name, who, form, length, took) for who, took in found.items()]
                    give_back()
            plan.keep(_told(rows, jobs, {**missing, "the rest": f"the run ended after {form}"}, width, plan))
    for row in rows:
        if row["contestant"] == OURS and row["precision"] == "fp32" and row["form"].endswith(BOTH):
            if row["length"] in COUNTED:
                plan.say(f"  {row['task']}, {row['length']} tokens: memory")
                row["peak_bytes"] = _peak(jobs[row["task"]].ours, width, row["length"])
    return _told(rows, jobs, missing, width, plan)


def _told(
    rows: list[dict[str, Any]], jobs: Mapping[str, Job], missing: Mapping[str, str], width: int, plan: Plan
) -> dict[str, Any]:
    growth = _growth(rows, jobs, width)
    return {
        "suite": "long", "what": long.__doc__, "rows": rows, "goals": _goals(rows, jobs) + _met(growth, jobs),
        "growth": growth, "missing": missing, "size": {"width": width, "batch": 1}, "rounds": plan.rounds,
        "device": "cpu",
    }  # fmt: skip


def _race(
    name: str,
    job: Job,
    form: str,
    length: int,
    width: int,
    plan: Plan,
    peers: _Peers,
    last: dict[str, list[tuple[int, float]]],
) -> dict[str, Time]:
    """Ours and its peers in turn, without those that would take too long; what each took is remembered in `last`."""

    whole = installed()

    def soon(who: str) -> bool:
        key = f"{who}, {name}"
        if _expected(last.get(key, []), length) > LONGEST:
            why = f"would take over {LONGEST:.0f} s a pass"
        elif _expected(last.get(f"memory, {key}", [])[1:], length) > ROOM * whole:  # the first also loads libraries
            why = f"would take over {ROOM * whole / 1e9:.0f} GB"
        else:
            return True
        peers.missing.setdefault(f"{key}, {form}, from {length} tokens", why)
        return False

    runners = {who: run for who, run in peers.load(name, job, form, length).items() if soon(who)}
    if soon(OURS):
        runners[OURS] = timed(_step(job.ours, width, length, form))
    if not runners:
        return {}
    plan.say(f"  {name}, {length} tokens, {form}: {', '.join(runners)}")
    before = peak_from_here()
    while True:
        try:
            times = _times(runners, plan.rounds)
            break
        except _Gone as gone:  # a peer may ask for more memory than there is
            runners.pop(gone.who)
            peers.leave(gone.who)
            peers.missing[f"{gone.who}, {name}, {form}"] = f"from {length} tokens: {gone}"
    peers.drop(runners, form)
    if OURS in runners:
        last.setdefault(f"memory, {OURS}, {name}", []).append((length, float(peak() - before)))
    for who, took in times.items():
        last.setdefault(f"{who}, {name}", []).append((length, took.median))
        if who != OURS and took.median > LONGEST:
            peers.missing[f"{who}, {name}"] = f"took {took.median:.0f} s at {length} tokens, {form}"
    return times


def _expected(so_far: list[tuple[int, float]], length: int) -> float:
    """Seconds at this length, if they go on growing as between the last two, but at least in proportion."""
    if not so_far:
        return 0.0
    tokens, seconds = so_far[-1]
    return seconds * (length / tokens) ** max(1.0, _slope(dict(so_far[-2:])) or 0.0)


class _Peers:
    """The public packages, each in a process that lives as long as the stack."""

    def __init__(self, stack: ExitStack, plan: Plan, width: int) -> None:
        self.stack, self.plan, self.width = stack, plan, width
        self.missing: dict[str, str] = {}
        self.workers: dict[str, Worker] = {}

    def load(self, name: str, job: Job, form: str, length: int) -> dict[str, Runner]:
        """What can run this job, ready for inputs of this length."""
        found: dict[str, Runner] = {}
        for who, (wants, _) in job.peers.items() if self.plan.peers else ():
            if f"{who}, {name}" in self.missing or f"{who}, {name}, {form}" in self.missing:
                continue
            asked = {"job": name, "library": who, "width": self.width, "length": length, "threads": self.plan.threads}
            try:
                worker = self._worker(who, wants)
                worker.ask(do="load", precision=form, **asked)
                found[who] = partial(_round, who, worker, form)
            except PeerFault as fault:
                self.missing[f"{who}, {name}, {form}"] = str(fault)
        return found

    def drop(self, racers: Iterable[str], form: str) -> None:
        """These have raced: their memory is for others now."""
        for who in set(racers) - {OURS}:
            self.workers[who].ask(do="drop", precision=form)

    def leave(self, who: str) -> None:
        """The process of a peer that failed; the next job of this peer gets another."""
        self.workers.pop(who).close()

    def _worker(self, who: str, wants: str) -> Worker:
        if who not in self.workers:
            python, failed = prepare("long", ("torch==2.13.0", "numpy", wants), self.plan.say)
            if failed:
                raise PeerFault(next(iter(failed.values())))
            self.workers[who] = self.stack.enter_context(Worker(python, OUTSIDE / "peer_long.py", self.plan.threads))
        return self.workers[who]


def _step(tree: Mapping[str, Any], width: int, length: int, form: str) -> Callable[[], None]:
    at = Layout.dense(1, length)
    return passes(built(tree, width), lambda mixer, x: mixer(x, at), (1, length, width), form)


def passes(
    module: nn.Module, call: Callable[[Any, Tensor], Tensor], shape: Sequence[int], form: str
) -> Callable[[], None]:
    """`call(module, x)` in the number format and with the passes of `form`, on an x of this shape."""
    precision, _, way = form.partition(", ")
    module = module.to(PRECISIONS[precision])
    x = torch.randn(*shape, dtype=PRECISIONS[precision], requires_grad=way == BOTH)

    def both() -> None:
        call(module, x).sum().backward()
        x.grad = None
        module.zero_grad(set_to_none=True)

    @torch.no_grad()
    def forward() -> None:
        call(module, x)

    return both if way == BOTH else forward


def _peak(tree: Mapping[str, Any], width: int, length: int) -> int:
    return of_step(_step(tree, width, length, f"fp32, {BOTH}")).peak


def built(tree: Mapping[str, Any], width: int) -> Mixer:
    """The mixer of a job, with the same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mixer: Mixer = config("mixers", tree).build(width)
        return mixer.train()


class _Gone(Exception):
    """A peer failed in a race; the message says how."""

    def __init__(self, who: str, fault: PeerFault) -> None:
        super().__init__(str(fault))
        self.who = who


def _round(who: str, worker: Worker, form: str) -> float:
    try:
        return float(worker.ask(do="round", precision=form)["seconds"])
    except PeerFault as fault:
        raise _Gone(who, fault) from None


def _times(runners: Mapping[str, Runner], rounds: int) -> dict[str, Time]:
    """As many rounds as there is patience for, one for what takes all of it; a first pass, whose memory is new, never
    counts."""
    first = {n: run() for n, run in runners.items()}
    quick = {n: runners[n] for n in runners if first[n] < ENOUGH}
    rounds = max(1, min(rounds, int(ENOUGH / sum([first[n] for n in quick], 1e-9))))
    times = relay(quick, rounds, PAUSE if len(quick) > 1 else 0.0)
    slow = {n: run() for n, run in runners.items() if n not in quick}
    return {n: times[n] if n in quick else Time(slow[n], slow[n], slow[n], 1) for n in runners}


def _row(job: str, name: str, form: str, length: int, took: Time) -> dict[str, Any]:
    precision, _, way = form.partition(", ")
    return {
        "task": job, "contestant": name, "form": f"{length} tokens, {way}", "precision": precision, "length": length,
        "unit": "tokens/s", "rate": round(length / took.median, 1), "seconds": took,
    }  # fmt: skip


def _goals(rows: list[dict[str, Any]], jobs: Mapping[str, Job]) -> list[dict[str, Any]]:
    """At every length that both ran: ours over its peer, and over causal softmax attention from 4096 tokens on."""
    rate = {(r["task"], r["contestant"], r["precision"], r["form"]): r["rate"] for r in rows}
    found = []
    for row in rows:
        task, precision, form = row["task"], row["precision"], row["form"]
        if row["contestant"] != OURS:
            continue
        both = form.endswith(f", {BOTH}")
        against = {who: (task, who, wanted if both else 1.0) for who, (_, wanted) in jobs[task].peers.items()}
        if task != SDPA and row["length"] >= 4096:
            against["causal softmax attention"] = (SDPA, OURS, 1.0)
        for says, (theirs, who, wanted) in against.items():
            other = rate.get((theirs, who, precision, form))
            if other:
                told = {"task": task, "goal": f"{precision}, {form}", "against": says, "wanted": wanted}
                ratio = row["rate"] / other
                found.append({**told, "reached": round(ratio, 3), "met": ratio >= wanted})
    return found


def _growth(rows: list[dict[str, Any]], jobs: Mapping[str, Job], width: int) -> list[dict[str, Any]]:
    """For each of ours: the exponents of time and of peak memory from 4096 tokens on, beside the declared cost."""
    out = []
    for name, job in jobs.items():
        mine = [r for r in rows if r["task"] == name and r["contestant"] == OURS and r["length"] >= 4096]
        declared = built(job.ours, width).growth
        told: dict[str, Any] = {"task": name, "declared": declared}
        for precision in PRECISIONS:
            for way in (FORWARD, BOTH):
                of = [r for r in mine if r["precision"] == precision and r["form"].endswith(f", {way}")]
                told[f"time {precision}, {way}"] = _slope({r["length"]: r["seconds"].median for r in of})
        told["peak memory"] = _slope({r["length"]: r["peak_bytes"] for r in mine if "peak_bytes" in r})
        out.append(told)
    return out


def _met(growth: list[dict[str, Any]], jobs: Mapping[str, Job]) -> list[dict[str, Any]]:
    """The worst exponent of time of each of ours, at most so much over what it declares as its job allows."""
    found = []
    for told in growth:
        slopes = [v for k, v in told.items() if k.startswith("time") and v is not None]
        most = EXPONENT.get(told["declared"])
        if slopes and most is not None:
            most += jobs[told["task"]].near
            says = f"largest exponent of time, {told['declared']} declared, at most"
            found.append({"task": told["task"], "goal": says, "wanted": round(most, 3), "reached": max(slopes),
                          "met": max(slopes) <= most})  # fmt: skip
    return found


def _slope(costs: Mapping[int, float]) -> float | None:
    """The exponent between the shortest and the longest input."""
    if len(costs) < 2:
        return None
    a, b = min(costs), max(costs)
    return round(math.log(costs[b] / costs[a]) / math.log(b / a), 3)
