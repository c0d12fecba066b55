"""What evidence says of models that were tested longer than trained: one table for each task and training.

An arm is one line, under the name of its position and what else it changes; entries that train alike on one task share
a table, so that positions can be compared across papers. Light: no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from ..claims.arms import merge, spec_of
from .catalogue import Row
from .schema import Change

SIZES = ("length", "high", "pairs")  # the options by which tasks say how long training is
ARMS = {"candidate": "change", "control": "control", "floor": "floor"}


@dataclass
class Table:
    """One task and training: the mean over seeds of every arm at every test length."""

    task: dict[str, Any]
    train: dict[str, Any]
    width: int
    layers: int
    trained: int
    lines: dict[str, dict[int, float]] = field(default_factory=dict)  # arm -> test length -> mean
    papers: set[str] = field(default_factory=set)

    @property
    def tests(self) -> list[int]:
        return sorted({n for line in self.lines.values() for n in line})


def tables(rows: Sequence[Row]) -> list[Table]:
    """The tables of all rows that have evidence."""
    found: dict[str, Table] = {}
    for row in rows:
        for one in (row.evidence or {}).get("checks", []):
            for arm, change, test, value in _measured(one):
                tree = merge(one["check"]["task"], change.task)
                train = merge(one["check"]["train"], change.train)
                assert row.entry is not None
                spec = spec_of(row.entry.model, change, {})
                layers = sum(s.get("repeat", 1) * len(s.get("pattern", [0])) for s in spec["schedule"])
                size = next((tree[name] for name in SIZES if name in tree), test)
                if test <= size:
                    continue
                tree = {k: v for k, v in tree.items() if k != "test"}
                key = json.dumps([tree, train, spec["width"], layers], sort_keys=True)
                table = found.setdefault(key, Table(tree, train, spec["width"], layers, size))
                table.lines.setdefault(_name(row, arm, spec, change), {})[test] = value
                table.papers.add(row.slug)
    return list(found.values())


def _measured(one: Mapping[str, Any]) -> Iterator[tuple[str, Change, int, float]]:
    """(arm, its change, test length, mean) of a check that tests at a length of its own."""
    check = one["check"]
    if check["judge"] != "beats" or not check.get("task"):
        return
    for arm, key in ARMS.items():
        change = Change.model_validate(check.get(key) or {})
        test, values = merge(check["task"], change.task).get("test"), one["numbers"].get(arm)
        if test is not None and values and all(isinstance(v, float | int) for v in values):
            yield arm, change, test, mean(values)


def _name(row: Row, arm: str, spec: Mapping[str, Any], change: Change) -> str:
    """The position of an arm with its options, and the other things that it changes."""
    place = spec.get("position", "none")
    place = {"use": place} if isinstance(place, str) else place
    options = ", ".join(f"{k} {v}" for k, v in place.items() if k != "use")
    rest = {k: v for k, v in change.model.items() if k != "position"} | change.layers
    told = f"{place['use']} ({options})" if options else place["use"]
    if rest:
        told += " with " + json.dumps(rest, sort_keys=True).replace('"', "")
    elif "position" not in spec:
        told += f" [{row.slug}]"
    return told
