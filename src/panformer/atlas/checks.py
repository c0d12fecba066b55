"""One check of a paper as a page shows it: its verdict, the picture of its numbers, and the numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

from ..papers.catalogue import Row
from . import advice, plots
from .tables import Table

WHAT = {
    "equal": "two computations give the same numbers, in float64",
    "parity": "the same numbers as a public implementation on copied weights",
    "beats": "one arm is better than another by more than a margin",
    "scales": "a cost or a measure goes as the length to a power",
    "costs": "the cost of one arm over that of another lies in a range",
    "holds": "a number stays within a bound",
    "listed": "there is nothing to run",
}
ARMS = {"candidate": "candidate", "control": "control", "null": "control again", "floor": "floor"}


class Shown(NamedTuple):
    """A check; without evidence, only what it asks."""

    judge: str
    what: str
    about: str
    verdict: str
    reason: str
    pictures: Sequence[str]
    numbers: Table | None
    arms: Sequence[tuple[str, str]]  # the name of an arm, and what it is
    asked: str  # the check as the entry has it
    behind: str  # where the arm loses, in words


def shown(row: Row) -> list[Shown]:
    """All checks of an entry."""
    if row.entry is None:
        return []
    found = row.evidence["checks"] if row.evidence else [None] * len(row.entry.checks)
    return [_one(row, check, ran) for check, ran in zip(row.entry.checks, found, strict=True)]


def _one(row: Row, check: Any, ran: Mapping[str, Any] | None) -> Shown:
    asked = json.dumps(
        check.model_dump(mode="json", by_alias=True, exclude_defaults=True) | {"judge": check.judge}, indent=1
    )
    what = WHAT[check.judge]
    if ran is None:
        return Shown(check.judge, what, check.about, "", getattr(check, "why", "not run yet"), (), None, (), asked, "")
    pictures = tuple(filter(None, _pictures(ran)))
    return Shown(
        check.judge, what, check.about, ran["verdict"], ran["reason"], pictures, _numbers(ran), tuple(_arms(row, ran)), asked,
        _behind(ran),
    )  # fmt: skip


def number(value: Any) -> float:
    """A recorded number; those that JSON has no form for were written as words."""
    return float(value) if value is not None else math.nan


def _list(value: Any) -> list[float]:
    return [number(v) for v in value] if isinstance(value, list) and not any(isinstance(v, list) for v in value) else []


def _interval(ran: Mapping[str, Any]) -> tuple[float, float, float] | None:
    told = ran["interval"]
    return tuple(number(told[k]) for k in ("low", "mean", "high")) if told else None  # type: ignore[return-value]


def _pictures(ran: Mapping[str, Any]) -> Iterator[str]:
    numbers, check, interval = ran["numbers"], ran["check"], _interval(ran)
    told = f"{ran['verdict']}: {ran['reason']}"
    if ran["judge"] in ("equal", "parity"):
        arms = {"error": _list(numbers["error"])} | (
            {"control's error": _list(numbers["control"])} if "control" in numbers else {}
        )
        most = number(numbers["tolerance"])
        yield plots.strips(arms, "largest error of each seed", None, plots.Band(None, most, "tolerance"), True, told)
    elif ran["judge"] == "beats":
        arms = {name: _list(numbers[key]) for key, name in ARMS.items() if key in numbers}
        measure = f"{'the task' if check.get('task') else 'the fact'}'s number, each seed; {_better(arms, interval)}"
        yield plots.strips(arms, measure, about=f"Values of each arm. {told}")
        band = plots.Band(number(numbers["margin"]), None, "more than the margin")
        yield plots.strips({}, "gain over the control", interval, band, about=told)
    elif ran["judge"] == "costs":
        arms = {name: _list(numbers[key]) for key, name in ARMS.items() if key in numbers}
        log = min((min(v) for v in arms.values() if v), default=0) > 0
        yield plots.strips(
            arms,
            f"{advice.COSTS.get(check['cost'], check['cost'])}, each repeat",
            log=log,
            about=f"Costs of each arm. {told}",
        )
        yield plots.strips({}, "ratio of the costs", interval, _range(check["expect"]["ratio"]), about=told)
    elif ran["judge"] == "scales":
        lengths = [float(n) for n in numbers["lengths"]]
        runs = [list(zip(lengths, map(number, values), strict=False)) for values in numbers["values"]]
        name = advice.COSTS.get(check.get("cost") or "", check.get("cost") or "measure")
        yield plots.lines(
            [plots.Line(f"run {i + 1}", run) for i, run in enumerate(runs)],
            "tokens",
            name,
            f"{name} over tokens. {told}",
        )
        yield plots.strips({}, "exponent", interval, _range(check["expect"]["exponent"]), about=told)
    elif ran["judge"] == "holds":
        arms = {"value": _list(numbers["values"])} | (
            {"control": _list(numbers["control"])} if "control" in numbers else {}
        )
        yield plots.strips(arms, "the number, each seed", None, _range(check["expect"]["bound"]), about=told)


def _better(arms: Mapping[str, Sequence[float]], interval: tuple[float, float, float] | None) -> str:
    """Which way is better, as the recorded gain says: it is turned so that more is better."""
    ahead = mean(arms["candidate"]) - mean(arms["control"])
    turned = interval is not None and ahead * interval[1] < 0
    return "lower is better" if turned else "higher is better"


def _range(told: Sequence[Any]) -> plots.Band:
    return plots.Band(told[0], told[1], "expected")


def _numbers(ran: Mapping[str, Any]) -> Table | None:
    """Every number that the run wrote: a line for each list, a column for each seed."""
    lines: list[list[str]] = []
    for key, value in ran["numbers"].items():
        many = value if isinstance(value, list) else [value]
        if any(isinstance(v, list) for v in many):
            lines += [[f"{key} {i + 1}", *map(_cell, inner)] for i, inner in enumerate(many)]
        else:
            lines.append([key, *map(_cell, many)])
    if ran["interval"]:
        lines += [[f"interval, {k}", _cell(ran["interval"][k])] for k in ("low", "mean", "high", "level")]
    if not lines:
        return None
    wide = max(map(len, lines))
    heads = ["numbers", *(f"#{i}" for i in range(1, wide))]
    return Table("Numbers", heads, [line + [""] * (wide - len(line)) for line in lines])


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _arms(row: Row, ran: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the arms of a comparison are, told by their parts or by what differs."""
    check = ran["check"]
    if ran["judge"] not in ("beats", "costs") or (ran["judge"] == "beats" and not check.get("task")):
        return
    for other in ("control", "floor"):
        if check.get(other):
            ours, theirs = advice.arms(row, ran, other)
            if other == "control":
                yield "candidate", ours
            yield other, theirs


def _behind(ran: Mapping[str, Any]) -> str:
    """How the candidate did worse than the control, in words, whatever the verdict."""
    interval = _interval(ran)
    if ran["judge"] != "beats" or interval is None or not interval[1] < 0:
        return ""
    sure = "in every likely case" if interval[2] < 0 else "on average"
    means = [mean(_list(ran["numbers"][k])) for k in ("candidate", "control")]
    return f"{sure} behind its control: {means[0]:.4g} against {means[1]:.4g}, gain {interval[1]:.3g} [{interval[0]:.3g}, {interval[2]:.3g}]"
