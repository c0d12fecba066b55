"""What comparisons and evidence say of models that were tested longer than trained: one table for each task and training.

A comparison has all its arms under one training, and `overview` lays such comparisons side by side. In evidence an arm is
one line, under the name of its positions and what else it changes; entries that train alike on one task share a table.
Light: no torch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, nan
from statistics import mean
from typing import Any, NamedTuple

from ..claims.arms import merge, spec_of
from .catalogue import Row
from .schema import Change

SIZES = ("length", "high", "pairs")  # the options by which tasks say how long training is
FIXED = {"digits": 8}  # sides of pictures that no option says
Record = Mapping[str, Any]  # what `panformer compare` writes
ARMS = {"candidate": "change", "control": "control", "floor": "floor", "values": "change"}


class Seeds(tuple[float, ...]):
    """What each seed measured, nan where it diverged."""

    @property
    def finite(self) -> list[float]:
        return [v for v in self if isfinite(v)]

    @property
    def mean(self) -> float:
        """Of the seeds that did not diverge."""
        return mean(self.finite) if self.finite else nan

    @property
    def diverged(self) -> int:
        return len(self) - len(self.finite)

    def __str__(self) -> str:
        told = f"{self.mean:.3f}" if self.finite else "-"
        return f"{told} ({self.diverged} of {len(self)} diverged)" if self.diverged else told

    def dump(self) -> dict[str, Any]:
        return {"mean": self.mean if self.finite else None, "seeds": self.finite, "diverged": self.diverged}


@dataclass
class Table:
    """One task and training: what the seeds of every arm measured at every test length."""

    task: dict[str, Any]
    train: dict[str, Any]
    width: int
    layers: tuple[int, ...]  # how many; several where arms differ in it
    trained: int
    title: str = ""  # no two of one list are alike
    lines: dict[str, dict[int, Seeds]] = field(default_factory=dict)  # arm -> test length -> seeds
    sources: dict[str, set[str]] = field(default_factory=dict)  # arm -> papers
    comparison: str = ""  # its name, where the table is one

    @property
    def tests(self) -> list[int]:
        return sorted({n for line in self.lines.values() for n in line})

    @property
    def heads(self) -> list[str]:
        return [f"trained at {self.trained}, tested at", *map(str, self.tests)]

    @property
    def papers(self) -> set[str]:
        return {slug for slugs in self.sources.values() for slug in slugs}

    @property
    def origin(self) -> str:
        return f"the comparison {self.comparison}" if self.comparison else ", ".join(sorted(self.papers))

    @property
    def about(self) -> str:
        """The options of the task, the size of the model, and the training."""
        options, how = (", ".join(_leaves(tree)) for tree in (_less(self.task, "use"), self.train))
        return f"{options} · {self.size} · {how}"

    @property
    def size(self) -> str:
        return f"{' or '.join(map(str, self.layers))} layers of width {self.width}"

    def dump(self) -> dict[str, Any]:
        lines = {arm: {n: seeds.dump() for n, seeds in line.items()} for arm, line in self.lines.items()}
        return {**_less(vars(self), "sources"), "lines": lines, "papers": sorted(self.papers)}

    def rows(self) -> list[list[str]]:
        """The cells of every line; the arm comes first."""
        return [
            [arm, *(str(line[n]) if n in line else "" for n in self.tests)] for arm, line in sorted(self.lines.items())
        ]


class _Arm(NamedTuple):
    """One model under one training, whatever paper trained it."""

    name: str
    layers: int
    spec: str


class _Point(NamedTuple):
    """What one arm of a check measured at one test length; None: at the trained one."""

    change: Change
    test: int | None
    seeds: Seeds


def every(records: Sequence[Record], rows: Sequence[Row]) -> list[Table]:
    """The tables of all comparisons, then those of all evidence."""
    return [*compared(records), *tables(rows)]


def compared(records: Sequence[Record]) -> list[Table]:
    """A table for each comparison whose models were tested longer than trained."""
    found = []
    for told in longer(records):
        seeds: dict[str, dict[int, list[float]]] = {_called(arm): {} for arm in told["arms"]}
        names = {arm["name"]: _called(arm) for arm in told["arms"]}
        for one in told["trials"]:
            if not one["tuning"]:
                value = nan if one["measure"] is None else one["measure"]
                seeds[names[one["arm"]]].setdefault(one["length"], []).append(value)
        task = {**told["task"], told["size_is"]: told["trained"]}
        layers = {_depth(arm["spec"]) for arm in told["arms"]}
        lines = {arm: {n: Seeds(values) for n, values in line.items()} for arm, line in seeds.items()}
        found.append(Table(task, told["budget"]["value"], told["sizes"][0], tuple(sorted(layers)), told["trained"],
                           f"{told['name']}, trained at {told['trained']}", lines, comparison=told["name"]))  # fmt: skip
    return found


def longer(records: Sequence[Record]) -> list[Record]:
    """Comparisons whose models were tested longer than trained."""
    return [told for told in records if "trained" in told]


def overview(records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of one table: the mean of every arm in every test, best first by its mean rank in tests that are longer
    than training."""
    cells: dict[str, dict[tuple[str, int], str]] = {}
    ranks: dict[str, list[int]] = {}
    tests = [(told["name"], n) for told in longer(records) for n in told["lengths"]]
    for told in longer(records):
        names = {arm["name"]: _called(arm) for arm in told["arms"]}
        for one in told["summary"]:
            arm = names[one["arm"]]
            value = "diverged" if one["mean"] is None else f"{one['mean']:.3g}"
            cells.setdefault(arm, {})[told["name"], one["length"]] = value
            if one["length"] > told["trained"]:
                ranks.setdefault(arm, []).append(one["rank"] or len(names))
    rows = [
        [arm, *(cells[arm].get(test, "") for test in tests), f"{mean(ranks[arm]):.1f}"]
        for arm in sorted(cells, key=lambda arm: mean(ranks[arm]))
    ]
    return ["", *(f"{name.removesuffix('-longer')} {n}" for name, n in tests), "mean rank beyond"], rows


def tables(rows: Sequence[Row]) -> list[Table]:
    """The tables of all rows that have evidence. Every line was tested longer than trained at least once."""
    found: dict[str, Table] = {}
    arms: dict[str, dict[_Arm, dict[int, Seeds]]] = {}
    sources: dict[tuple[str, _Arm], set[str]] = {}
    for row in rows:
        for one in (row.evidence or {}).get("checks", []):
            for point in _measured(one["check"], one["numbers"]):
                assert row.entry is not None
                task, train = _less(one["check"]["task"], "test"), one["check"]["train"]
                spec = spec_of(row.entry.model, point.change, {})
                size = next((task[name] for name in SIZES if name in task), FIXED.get(task["use"]))
                if size is None or (point.test or size) < size:
                    continue
                key = json.dumps([task, train, spec["width"]], sort_keys=True)
                found.setdefault(key, Table(task, train, spec["width"], (), size))
                arm = _Arm(_name(row, spec, point.change), _depth(spec), json.dumps(spec, sort_keys=True))
                arms.setdefault(key, {}).setdefault(arm, {})[point.test or size] = point.seeds
                sources.setdefault((key, arm), set()).add(row.slug)
    for key, table in found.items():
        _fill(table, arms[key], {arm: sources[key, arm] for arm in arms[key]})
    return _titled([table for table in found.values() if table.lines])


def _fill(table: Table, arms: Mapping[_Arm, dict[int, Seeds]], sources: Mapping[_Arm, set[str]]) -> None:
    """Put in the arms that were tested longer than trained, under names that tell them apart."""
    kept = [arm for arm, line in arms.items() if max(line) > table.trained]
    table.layers = tuple(sorted({arm.layers for arm in kept}))
    many = Counter(arm.name for arm in kept)
    for arm in kept:
        name = arm.name if len(table.layers) == 1 else f"{arm.name}, {arm.layers} layers"
        name = name if many[arm.name] == 1 else f"{name} [{', '.join(sorted(sources[arm]))}]"
        table.lines[name], table.sources[name] = arms[arm], sources[arm]


def _measured(check: Mapping[str, Any], numbers: Mapping[str, Any]) -> Iterator[_Point]:
    """Every arm of a check that measures a task."""
    if not check.get("task"):
        return
    if check["judge"] == "scales":
        change = Change.model_validate(check.get("change") or {})
        for n, values in zip(numbers["lengths"], zip(*numbers["values"], strict=True), strict=True):
            yield _Point(change, n, Seeds(map(float, values)))
        return
    for arm, key in ARMS.items():
        if arm in numbers:
            change = Change.model_validate(check.get(key) or {})
            yield _Point(change, merge(check["task"], change.task).get("test"), Seeds(map(float, numbers[arm])))


def _titled(found: list[Table]) -> list[Table]:
    """With titles: the task and what it was trained at, and what tells it from others of that title."""
    found = [replace(t, title=f"{t.task['use']}, trained at {t.trained}") for t in found]
    for told in (
        lambda t: t.size,
        lambda t: ", ".join(_leaves(t.train)),
        lambda t: ", ".join(_leaves(_less(t.task, "use", *SIZES))),
    ):
        many = Counter(t.title for t in found)
        found = [t if many[t.title] == 1 else replace(t, title=f"{t.title}, {told(t)}") for t in found]
    return found


def _name(row: Row, spec: Mapping[str, Any], change: Change) -> str:
    """The positions of an arm, mixers other than attention, and the other things that it changes."""
    each = [layer for stage in spec["schedule"] for layer in stage.get("pattern", [stage])]
    mixers = [{"use": m} if isinstance(m, str) else m for layer in each if (m := layer.get("mixer"))]
    places = dict.fromkeys(_told(m.get("position", spec.get("position", "none"))) for m in mixers)
    others = dict.fromkeys(m["use"] for m in mixers if m["use"] != "attention")
    layers = {
        k: _less(v, "use", "position") if k == "mixer" and isinstance(v, dict) else v for k, v in change.layers.items()
    }
    rest = [*_leaves(_less(change.model, "position", "schedule")), *_leaves(layers),
            *_leaves(_less(change.task, "test")), *_leaves(change.train)]  # fmt: skip
    told = ", ".join([" + ".join(places), *others])
    if rest:
        return f"{told}; {', '.join(rest)}"
    return told if others or "position" in spec or change.model or change.layers else f"{told} [{row.slug}]"


def _depth(spec: Mapping[str, Any]) -> int:
    """Layers of a model."""
    return sum(stage.get("repeat", 1) * len(stage.get("pattern", [0])) for stage in spec["schedule"])


def _called(arm: Mapping[str, Any]) -> str:
    """The positions of a comparison's arm, where these are what it changes."""
    return _told(arm["spec"]["position"]) if arm["name"].startswith("positions/") else str(arm["name"])


def _told(part: Any) -> str:
    """A part and its options."""
    if not isinstance(part, Mapping):
        return str(part)
    options = ", ".join(f"{k} {_told(v)}" for k, v in part.items() if k != "use")
    return f"{part['use']} ({options})" if options else str(part["use"])


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """What a tree of changes says, in words."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and "use" not in value:
            yield from _leaves(value, path if key == "mixer" else f"{path}{key}.")
        else:
            yield f"no {path}{key}" if value is None else f"{path}{key} {_told(value)}"


def _less(tree: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in tree.items() if k not in names}
