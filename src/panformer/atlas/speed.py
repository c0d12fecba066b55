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
    """Every contestant: by length where all rows have one."""
    return by_length(told["rows"]) if all("length" in row for row in told["rows"]) else by_row(told["rows"])


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
        way = row["form"].partition(", ")[2]
        held = row.get("state_bytes")
        way = "" if held is not None or way.startswith("state") else way
        told = f"{1e6 / row['rate']:.3g}" + ("" if held is None else f" ({held / 1024:.4g} KiB)")
        lines.setdefault((row["task"], row["contestant"], row["precision"], way), {})[row["length"]] = told
    cells = [
        (task, who, f"{precision}{', ' + way if way else ''}", *(found.get(n, "") for n in lengths))
        for (task, who, precision, way), found in sorted(lines.items(), key=lambda line: jobs.index(line[0][0]))
    ]
    note = "Microseconds per token, by tokens" + (" (and the state)" if "state_bytes" in rows[0] else "") + ":"
    return Table("", ("job", "contestant", "precision", *map(str, lengths)), cells, note)
