"""Recorded comparisons (`panformer compare` writes them) as tables and pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import InputError
from . import plots
from .tables import Table

FORMAT = 1
HOME = Path(__file__).parent.parent / "compare" / "records"
COSTS = {
    "flops": "operations", "latency_ms": "milliseconds of one row", "peak_bytes": "peak memory, bytes", "parameters": "parameters",
    "seconds": "seconds of training",
}  # fmt: skip
KEYS = (
    "name",
    "task",
    "size_is",
    "arms",
    "trials",
    "summary",
    "pairs",
    "measure",
    "lower_is_better",
    "budget",
    "command",
)
NULL = (
    "name",
    "arm",
    "rows",
    "pairs",
    "seeds",
    "sets",
    "false_wins",
    "machine",
    "date",
    "command",
)  # of an arm against itself
TRIED = ("arm", "length", "size", "seed", "rate", "tuning", "measure", "seconds", "flops", "parameters", "latency_ms",
         "peak_bytes", "state_bytes", "steps")  # fmt: skip


class Panel(NamedTuple):
    """One length and size of a comparison."""

    title: str
    pictures: list[str]
    ranks: Table
    pairs: Table | None


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """File name -> record. Errors: InputError that names the file and what it lacks."""
    return {path.stem: told for path, told in _files(folder) if told.get("kind") != "null"}


def nulls(folder: Path) -> dict[str, dict[str, Any]]:
    """File name -> study of an arm against itself."""
    return {path.stem: told for path, told in _files(folder) if told.get("kind") == "null"}


def _files(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as fault:
            raise InputError(f"{path}: not JSON ({fault})") from None
        null = isinstance(told, dict) and told.get("kind") == "null"
        lost = [key for key in (NULL if null else KEYS) if not isinstance(told, dict) or key not in told]
        if lost:
            raise InputError(f"{path}: a record of a comparison has the key {lost[0]!r}")
        if told.get("format") != FORMAT:
            raise InputError(f"{path}: format {told.get('format')!r}; this version reads {FORMAT}")
        yield path, told


def panels(told: Mapping[str, Any]) -> list[Panel]:
    """A panel for each length and size, in the order of the summary."""
    places = list(dict.fromkeys((s["length"], s["size"]) for s in told["summary"]))
    return [_panel(told, length, size) for length, size in places]


def over_length(told: Mapping[str, Any]) -> str:
    """The measure of every arm over length, where there are several lengths; empty where not."""
    if len({s["length"] for s in told["summary"]}) < 2:
        return ""
    found = []
    size = told["summary"][0]["size"]
    for arm in told["arms"]:
        points = [
            (s["length"], s["mean"])
            for s in told["summary"]
            if (s["arm"], s["size"]) == (arm["name"], size) and s["mean"] is not None
        ]
        found.append(plots.Line(arm["name"], sorted(points)))
    return plots.lines(
        found, told["size_is"], told["measure"], f"{told['measure']} of each arm over length", log=(True, False)
    )


def trials(told: Mapping[str, Any]) -> Table:
    """Every trial: one line for each."""
    return Table("Trials", TRIED, [[_cell(trial.get(key)) for key in TRIED] for trial in told["trials"]])


def _panel(told: Mapping[str, Any], length: Any, size: Any) -> Panel:
    rows = [s for s in told["summary"] if (s["length"], s["size"]) == (length, size)]
    better = f"{told['measure']} ({'lower' if told['lower_is_better'] else 'higher'} is better)"
    title = f"{told['size_is']} {length}, width {size}"
    pictures = []
    for cost in ("flops", "latency_ms"):
        if told["budget"]["by"] == cost:  # alike for all
            continue
        spots = [
            plots.Spot(s["arm"], s[cost], s["mean"], s["low"], s["high"])
            for s in rows
            if s.get(cost) and s["mean"] is not None
        ]
        about = f"{better} against {COSTS[cost]}, {title}"
        pictures.append(plots.scatter(spots, COSTS[cost], told["measure"], about))
    ranks = Table(
        f"Arms at {title}",
        (
            "rank",
            "arm",
            told["measure"],
            "95% interval",
            "seeds",
            *("billion operations" if c == "flops" else says for c, says in COSTS.items()),
        ),
        [
            [
                _cell(s["rank"]),
                s["arm"],
                _cell(s["mean"]),
                f"{_cell(s['low'])} to {_cell(s['high'])}",
                _count(s["seeds"]),
                *(_cell(s[c] / 1e9 if c == "flops" else s.get(c)) for c in COSTS),
            ]
            for s in sorted(rows, key=lambda s: s["rank"] or len(rows))
        ],
    )
    pairs = [
        [
            p["a"],
            p["b"],
            _cell(p["gain"]),
            f"{_cell(p['low'])} to {_cell(p['high'])}",
            _cell(p["p"]),
            _cell(p["p_holm"]),
            p["verdict"],
        ]
        for p in told["pairs"]
        if (p["length"], p["size"]) == (length, size)
    ]
    heads = ("arm", "against", "gain", "95% interval", "p", "p, corrected", "verdict")
    return Panel(title, [p for p in pictures if p], ranks, Table(f"Pairs at {title}", heads, pairs) if pairs else None)


def _count(seeds: Any) -> str:
    return str(len(seeds) if isinstance(seeds, list) else seeds)


def _cell(value: Any) -> str:
    return (
        ""
        if value is None
        else f"{value:.4g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )
