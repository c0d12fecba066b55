"""Recorded benchmarks as tables. Printed in docs/speed.md and in the atlas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .tables import Table

MANY = 60  # goals of a suite past which only those that are missed are listed


def caption(told: Mapping[str, Any]) -> str:
    """What was raced, where and when."""
    at = told["machine"]
    here = at["gpu"] if told["device"] == "cuda" else f"{at['processor']}, {at['threads']} threads"
    return f"{told['what'].strip()} {here}, {at['date'][:10]}; medians of"


def rounds(told: Mapping[str, Any]) -> str:
    return f"{'up to ' if told['suite'] == 'gpu' else ''}{told['rounds']} rounds."


def races(told: Mapping[str, Any]) -> Table:
    """Every contestant: by length or by choice where all rows have one."""
    rows = told["rows"]
    if all("length" in row for row in rows):
        return by_length(rows)
    return by_choice(rows) if all("over_plain" in row for row in rows) else by_row(rows)


def goals(told: Mapping[str, Any]) -> Table | None:
    """What was to be reached, and whether it was; of many goals only those that were missed."""
    found, note = told["goals"], ""
    if len(found) > MANY:
        missed = [g for g in found if not g["met"]]
        note = f"{len(found) - len(missed)} of {len(found)} goals are reached; these are missed:"
        found = missed
    if not found:
        return None
    lines = []
    for g in found:
        against = f" ({g['against']})" if "against" in g else ""
        met = "reached" if g["met"] else "missed"
        lines.append((f"{g['goal']}{against}", g["task"], f"{g['wanted']:.3g}", f"{g['reached']:.3g}", met))
    return Table("Goals", ("goal", "job", "wanted", "reached", "result"), lines, note)


def growth(told: Mapping[str, Any]) -> list[str]:
    """One line for each mixer whose growth was declared and measured."""
    found = []
    for fit in told.get("growth", []):
        said = ", ".join(f"{k} {v}" for k, v in fit.items() if k not in ("task", "declared") and v is not None)
        found.append(f"{fit['task']}: declared {fit['declared']}; exponents measured: {said}.")
    return found


def demands(told: Mapping[str, Any]) -> list[str]:
    """The choices of a layer that may take longer than the plain one, by reason."""
    reasons: dict[str, list[str]] = {}
    for row in told["rows"]:
        if row.get("demands") and row["task"] not in reasons.setdefault(row["demands"], []):
            reasons[row["demands"]].append(row["task"])
    return [
        f"Not held to the plain layer's time, as the mechanism demands more ({why}): {', '.join(tasks)}."
        for why, tasks in reasons.items()
    ]


def missing(told: Mapping[str, Any]) -> list[str]:
    """What was not run, by reason."""
    reasons: dict[str, list[str]] = {}
    for name, why in told["missing"].items():
        reasons.setdefault(why, []).append(name)
    return [f"Not run, {why}: {'; '.join(names)}." for why, names in reasons.items()]


def by_row(rows: Sequence[Mapping[str, Any]]) -> Table:
    lines = []
    for row in rows:
        share = row.get("share_of_matmul_limit", row.get("share_of_bandwidth"))
        error = row.get("error", row.get("error_fp32"))
        name = " ".join(str(row[k]) for k in ("contestant", "form") if k in row)
        limit, off = "" if share is None else f"{share:.0%}", "" if error is None else f"{error:.1e}"
        lines.append((row["task"], name, row["precision"], f"{row['rate']:.4g} {row['unit']}", limit, off))
    return Table("", ("job", "contestant", "precision", "rate", "share of the limit", "error"), lines)


def by_length(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Microseconds per token, a column for each length."""
    lengths = sorted({row["length"] for row in rows})
    lines: dict[tuple[str, str, str, str], dict[int, str]] = {}
    jobs = list(dict.fromkeys(row["task"] for row in rows))
    for row in rows:
        held = row.get("state_bytes")
        told = f"{1e6 / row['rate']:.3g}" + ("" if held is None else f" ({held / 1024:.4g} KiB)")
        lines.setdefault((row["task"], row["contestant"], row["precision"], way(row)), {})[row["length"]] = told
    cells = [
        (task, who, f"{precision}{', ' + run if run else ''}", *(found.get(n, "") for n in lengths))
        for (task, who, precision, run), found in sorted(lines.items(), key=lambda line: jobs.index(line[0][0]))
    ]
    note = "Microseconds per token, by tokens" + (" (and the state)" if "state_bytes" in rows[0] else "") + ":"
    return Table("", ("job", "contestant", "precision", *map(str, lengths)), cells, note)


def way(row: Mapping[str, Any]) -> str:
    """How a row of a suite by length ran, forward alone or with its backward pass; empty where there is one way."""
    run = str(row["form"]).partition(", ")[2]
    return "" if row.get("state_bytes") is not None or run.startswith("state") else run


def by_choice(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Milliseconds, and what they are over the plain layer's, a column for each form."""
    ways = list(dict.fromkeys((row["precision"], row["form"]) for row in rows))
    lines: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    work: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        cell = f"{1e3 * row['seconds']['median']:.3g} ({row['over_plain']:.2f})"
        lines.setdefault((row["task"], row["contestant"]), {})[row["precision"], row["form"]] = cell
        if "operations_over_plain" in row:
            work[row["task"]] = row
    cells = []
    for (task, who), found in lines.items():
        own = "demands" in work.get(task, {}) and who == work[task]["contestant"]
        counted = f"{work[task]['operations_over_plain']:.2f}" if own else ""
        cells.append((task, who, counted, *(found.get(way, "") for way in ways)))
    heads = ("choice", "contestant", "operations, times the plain layer's", *map(", ".join, ways))
    return Table("", heads, cells, "Milliseconds of a step, and times the plain layer's:")
