"""What each choice inside a layer costs: the layer with it beside the plain layer and beside public ones, in one race."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.layout import Layout
from ..core.memory import give_back
from ..core.part import config, find, known
from ..core.shared import Shared
from ..core.spec import Stand, read, resolve
from ..measure.cost import trace
from ..model import trunk
from ..model.linears import replace_linears
from .contest import OURS, OUTSIDE, Plan
from .jobs import TRANSFORMERS, WIDTH
from .long import BOTH, FORWARD, PRECISIONS, passes
from .race import Runner, Time, relay, timed
from .step import rested
from .venv import prepare
from .worker import PeerFault, Worker

GRID = (16, 32)
FORMS = tuple(f"{p}, {way}" for p in PRECISIONS for way in (FORWARD, BOTH))
MOST = 1.05  # time over the plain layer's that a norm or a position may take
LONGEST = 3.0  # seconds of one pass past which a choice is left out
PLAIN = {"positions": "none", "norms": "layer", "residuals": "pre", "channels": "mlp", "linears": "plain"}
HELD = ("positions", "norms")  # families of which `MOST` is asked
DEMANDS = {  # kinds of position and norms that `MOST` is not asked of
    "bias": "a term for every score",
    "context": "a term for every score, made from the tokens",
    "factor": "a factor for every weight",
    "group": "values and answers are moved too",
    "norms timestep": "sums over all earlier tokens",
    "norms progressive_batch": "two norms, until training has left one behind",
}
SET: Mapping[str, Mapping[str, Any]] = {  # options of parts that do not build without, or whose own are for another job
    "learned_grid": {"grid": list(GRID)}, "relative_grid": {"grid": list(GRID)},
    "randomised": {"inside": "kerple", "among": 2048}, "parameter_attention": {"tokens": WIDTH},
    "moe": {"top": 2, "gated": True, "activation": "silu"},
}  # fmt: skip
LINEARS: tuple[Mapping[str, Any], ...] = (
    {"use": "hashed_tables", "bits": 4}, {"use": "hashed_tables", "bits": 8}, {"use": "parameter_attention"},
    {"use": "spectral"},
)  # fmt: skip
ROTARY, X, PEER = "rotary-embedding-torch==0.9.1", "x-transformers==2.31.10", "PEER-pytorch==0.2.2"
PEERS: Mapping[str, Mapping[str, str]] = {  # choice -> library -> requirement
    "positions none": {"torch": "torch==2.13.0"},
    "positions rope": {"rotary-embedding-torch": ROTARY, "transformers": TRANSFORMERS},
    "positions alibi": {"x-transformers": X},
    "positions t5": {"x-transformers": X},
    "norms rms": {"torch": "torch==2.13.0", "transformers": TRANSFORMERS},
    "norms batch": {"torch": "torch==2.13.0"},
    "norms scale": {"x-transformers": X},
    "channels glu": {"transformers": TRANSFORMERS},
    "channels moe": {"transformers": TRANSFORMERS},
    "channels product_key_experts": {"PEER-pytorch": PEER},
}


@dataclass(frozen=True)
class Choice:
    """One part in the place of the plain one."""

    family: str
    tree: Mapping[str, Any]

    @property
    def name(self) -> str:
        bits = f", {self.tree['bits']} bits" if "bits" in self.tree else ""
        return f"{self.family} {self.tree['use']}{bits}"

    @property
    def lattice(self) -> bool:
        part: Any = find(self.family, self.tree["use"])
        return self.family == "positions" and bool(part.lattice)

    @property
    def demands(self) -> str | None:
        """Why its mechanism may take more than `MOST`."""
        part: Any = find(self.family, self.tree["use"])
        kind = part.kind if self.family == "positions" else ""
        return DEMANDS.get(kind) or DEMANDS.get(self.name)

    @property
    def plain(self) -> bool:
        return self.tree["use"] == PLAIN[self.family]


def layer(
    plan: Plan, choices: Iterable[Choice] | None = None, width: int = WIDTH, grid: tuple[int, int] = GRID
) -> dict[str, Any]:
    """One layer (causal softmax attention, then an MLP, each behind a layer norm; no position) of width 512 over 512
    tokens, with one part exchanged: its time over that of the plain layer in the same rounds. Positions of a lattice
    are in attention without a direction, and so is the plain layer they are held against."""
    if plan.device != "cpu":
        raise InputError("bench layer races on a CPU; leave --device out")
    rows: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    chosen = list(every() if choices is None else choices)
    with ExitStack() as stack:
        peers = _Peers(stack, plan, width, grid[0] * grid[1], missing)
        for choice in chosen:
            try:
                counted = work(choice, width, grid) / work(_plain(choice), width, grid)
            except InputError as refusal:
                missing[choice.name] = str(refusal)
                continue
            plan.say(f"  {choice.name}: {counted:.2f} of the plain layer's operations")
            for form in FORMS:
                rows += _race(choice, form, counted, width, grid, plan, peers)
                give_back()
            plan.keep(_told(rows, {**missing, "the rest": f"the run ended after {choice.name}"}, width, grid, plan))
    return _told(rows, missing, width, grid, plan)


def every() -> Iterator[Choice]:
    """All parts that stand in a layer beside its mixer; of linear maps those that learn."""
    for family in ("positions", "norms", "residuals", "channels"):
        for use in known(family):
            if use != "none" or family in ("positions", "norms"):
                yield Choice(family, {"use": use, **SET.get(use, {})})
    for tree in LINEARS:
        yield Choice("linears", {**tree, **SET.get(tree["use"], {})})


class Built(nn.Module):
    """A layer with this choice, called on (1, T, width)."""

    def __init__(self, choice: Choice, width: int, grid: tuple[int, int], causal: bool) -> None:
        super().__init__()
        tree: dict[str, Any] = {"mixer": {"use": "attention", "heads": 8}, "channel": "mlp"}
        self.added = None
        if choice.family == "positions":
            place = config("positions", choice.tree)
            if place.part.kind == "add":
                self.added = place.build(1, width)
            else:
                tree["mixer"]["position"] = dict(choice.tree)
        elif choice.family != "linears":
            tree[choice.family[:-1]] = dict(choice.tree)
        embed = {"use": "tokens", "vocab": 1}
        spec = resolve(read({"width": width, "causal": causal, "embed": embed, "schedule": [tree]}))
        self.layer = trunk.Layer(spec.layers[0])
        if choice.family == "linears" and not choice.plain:
            replace_linears(self.layer, Stand(where="*", use=config("linears", choice.tree)))
        self.at = Layout.lattice(1, grid) if choice.lattice else Layout.dense(1, grid[0] * grid[1])

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.added is None else self.added.add(x, self.at)
        out: Tensor = self.layer(x, self.at, Shared())
        return out


def built(choice: Choice, width: int, grid: tuple[int, int], causal: bool = True) -> Built:
    """The layer of a choice in training, with the same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Built(choice, width, grid, causal).train()


def work(choice: Choice, width: int, grid: tuple[int, int]) -> int:
    """Operations of its forward pass."""
    made = built(choice, width, grid, not choice.lattice)
    return trace(made, torch.randn(1, grid[0] * grid[1], width)).flops


def _plain(choice: Choice) -> Choice:
    """The plain layer in the same layout."""
    return _Lattice("positions", {"use": "none"}) if choice.lattice else Choice("positions", {"use": "none"})


class _Lattice(Choice):
    """A choice that is laid out as a lattice, though it does not ask for that."""

    lattice = True


def _race(
    choice: Choice, form: str, counted: float, width: int, grid: tuple[int, int], plan: Plan, peers: _Peers
) -> list[dict[str, Any]]:
    shape, causal = (1, grid[0] * grid[1], width), not choice.lattice

    def runner(of: Choice) -> Runner:
        return timed(passes(built(of, width, grid, causal), lambda made, x: made(x), shape, form))

    runners = {"plain": runner(_plain(choice))}
    try:
        mine = runner(choice)
        mine()
        slow = mine()
    except RuntimeError as fault:
        peers.missing[f"{choice.name}, {form}"] = str(fault).splitlines()[0]
        return []
    if slow > LONGEST:
        peers.missing[f"{choice.name}, {form}"] = f"a pass takes over {LONGEST:.0f} s"
        return []
    runners |= {OURS: mine, **peers.load(choice.name, form)}
    times = relay(runners, plan.rounds)
    plain = times.pop("plain")
    return [_row(choice, who, form, took, plain, counted, shape[1]) for who, took in times.items()]


class _Peers:
    """Layers of public packages' pieces, all in one process."""

    def __init__(self, stack: ExitStack, plan: Plan, width: int, length: int, missing: dict[str, str]) -> None:
        self.missing = missing
        self.asked = {"width": width, "length": length, "threads": plan.threads}
        self.worker: Worker | None = None
        if plan.peers:
            wants = sorted({r for libraries in PEERS.values() for r in libraries.values()})
            python, failed = prepare("long", ("torch==2.13.0", "numpy", *wants), plan.say)
            missing |= {f"peers of {want}": why for want, why in failed.items()}
            self.worker = stack.enter_context(Worker(python, OUTSIDE / "peer_layer.py", plan.threads))

    def load(self, name: str, form: str) -> dict[str, Runner]:
        found: dict[str, Runner] = {}
        for who in PEERS.get(name, {}) if self.worker is not None else ():
            assert self.worker is not None
            key = f"{form}, {who}"
            try:
                self.worker.ask(do="load", precision=key, choice=name, library=who, **self.asked)
                self.worker.ask(do="round", precision=key)
                found[who] = partial(rested, self.worker, 1, key)
            except PeerFault as fault:
                self.missing[f"{who}, {name}, {form}"] = str(fault)
        return found


def _row(choice: Choice, who: str, form: str, took: Time, plain: Time, counted: float, tokens: int) -> dict[str, Any]:
    precision, _, way = form.partition(", ")
    row = {
        "task": choice.name, "contestant": who, "form": way, "precision": precision, "unit": "tokens/s",
        "rate": round(tokens / took.median, 1), "over_plain": round(took.median / plain.median, 3),
        "seconds": took, "plain": plain,
    }  # fmt: skip
    if who == OURS:
        row |= {"operations_over_plain": round(counted, 4), "demands": choice.demands}
    return row


def _told(
    rows: list[dict[str, Any]], missing: Mapping[str, str], width: int, grid: tuple[int, int], plan: Plan
) -> dict[str, Any]:
    size = {"width": width, "batch": 1, "tokens": grid[0] * grid[1], "grid": list(grid)}
    return {
        "suite": "layer", "what": layer.__doc__, "rows": list(rows), "goals": list(_goals(rows)),
        "missing": dict(missing), "size": size, "rounds": plan.rounds, "device": "cpu",
    }  # fmt: skip


def _goals(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Norms and positions cost little; what needs fewer operations takes less time; none is slower than its peer."""
    rate = {(r["task"], r["contestant"], r["precision"], r["form"]): r["rate"] for r in rows}
    for row in rows:
        task, form = row["task"], f"{row['precision']}, {row['form']}"
        if row["contestant"] != OURS:
            reached = rate.get((task, OURS, row["precision"], row["form"]), 0.0) / row["rate"]
            yield _goal(task, form, 1.0, reached, against=row["contestant"])
            continue
        speed = 1 / row["over_plain"]
        if task.startswith(HELD) and row["demands"] is None:
            yield _goal(task, form, 1 / MOST, speed, against="the plain layer")
        elif row["operations_over_plain"] < 1 - (MOST - 1) and not task.startswith(HELD):
            says = f"{form}, for {row['operations_over_plain']:.2f} of the operations"
            yield _goal(task, says, 1.0, speed, against="the plain layer")


def _goal(task: str, says: str, wanted: float, reached: float, against: str) -> dict[str, Any]:
    return {"task": task, "goal": says, "against": against, "wanted": round(wanted, 3), "reached": round(reached, 3),
            "met": reached >= wanted}  # fmt: skip
