"""Write docs/speed.md from the recorded benchmarks: `python tools/speed.py`; what stands outside its marks stays."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import plots

ROOT = Path(__file__).parent.parent
PAGE, PICTURES = ROOT / "docs" / "speed.md", ROOT / "docs" / "speed"
MANY = 60  # goals of a suite past which only those that are missed are listed
MARKS = re.compile("(<!-- recorded -->\n).*?(<!-- /recorded -->)", re.S)


def main() -> None:
    told = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "benchmarks").glob("*.json"))]
    for suite in told:
        plots.draw(suite, PICTURES / f"{suite['suite']}.svg")
    text = "\n".join(line for suite in told for line in section(suite))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(MARKS.sub(lambda m: f"{m[1]}{text}\n{m[2]}", page), encoding="utf-8")


def section(told: Mapping[str, Any]) -> Iterator[str]:
    at = told["machine"]
    yield f"### `{'tools/gpu.py' if told['suite'] == 'gpu' else 'bench ' + told['suite']}`"
    yield ""
    here = at["gpu"] if told["device"] == "cuda" else f"{at['processor']}, {at['threads']} threads"
    yield f"{told['what'].strip()} {here}, {at['date'][:10]}; medians of "
    yield f"{'up to ' if told['suite'] == 'gpu' else ''}{told['rounds']} rounds. Raw figures: `benchmarks/{told['suite']}.json`."
    yield ""
    yield f"![{told['suite']}: panformer and its peers]({PICTURES.name}/{told['suite']}.svg)"
    yield ""
    yield from table(told["rows"])
    goals = told["goals"]
    if len(goals) > MANY:
        missed = [g for g in goals if not g["met"]]
        yield from ("", f"{len(goals) - len(missed)} of {len(goals)} goals are reached; these are missed:")
        goals = missed
    if goals:
        yield from ("", "| goal | job | wanted | reached | |", "|---|---|---|---|---|")
    for g in goals:
        against = f" ({g['against']})" if "against" in g else ""
        yield f"| {g['goal']}{against} | {g['task']} | {g['wanted']:.3g} | {g['reached']:.3g} | {'reached' if g['met'] else 'missed'} |"
    for fit in told.get("growth", []):
        said = ", ".join(f"{k} {v}" for k, v in fit.items() if k not in ("task", "declared") and v is not None)
        yield from ("", f"{fit['task']}: declared {fit['declared']}; exponents measured: {said}.")
    for job, note in told["size"].items():
        for precision, shares in (note.get("profile") or {}).items() if isinstance(note, dict) else ():
            top = ", ".join(f"{op} {share:.0%}" for op, share in list(shares.items())[:4])
            yield from ("", f"Where the time of {job} goes in {precision}: {top}.")
    reasons: dict[str, list[str]] = {}
    for name, why in told["missing"].items():
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        yield from ("", f"Not run, {why}: {'; '.join(names)}.")
    yield ""


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if all("length" in row for row in rows):
        return by_length(rows)
    return by_choice(rows) if all("over_plain" in row for row in rows) else by_row(rows)


def by_row(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| job | contestant | precision | rate | share of the limit | error |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        share = row.get("share_of_matmul_limit", row.get("share_of_bandwidth"))
        error = row.get("error", row.get("error_fp32"))
        name = " ".join(str(row[k]) for k in ("contestant", "form") if k in row)
        yield (
            f"| {row['task']} | {name} | {row['precision']} | {row['rate']:.4g} {row['unit']} "
            f"| {'' if share is None else f'{share:.0%}'} | {'' if error is None else f'{error:.1e}'} |"
        )


def by_length(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
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
    yield from (
        "Microseconds per token, by tokens" + (" (and the state)" if "state_bytes" in rows[0] else "") + ":",
        "",
    )
    yield f"| job | contestant | precision | {' | '.join(map(str, lengths))} |"
    yield "|---|---|---|" + "---|" * len(lengths)
    for (task, who, precision, way), found in sorted(lines.items(), key=lambda line: jobs.index(line[0][0])):
        cells = " | ".join(found.get(n, "") for n in lengths)
        yield f"| {task} | {who} | {precision}{', ' + way if way else ''} | {cells} |"


def by_choice(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Milliseconds, and what they are over the plain layer's, a column for each form."""
    ways = list(dict.fromkeys((row["precision"], row["form"]) for row in rows))
    lines: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    work: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        cell = f"{1e3 * row['seconds']['median']:.3g} ({row['over_plain']:.2f})"
        lines.setdefault((row["task"], row["contestant"]), {})[row["precision"], row["form"]] = cell
        if "operations_over_plain" in row:
            work[row["task"]] = row
    yield from ("Milliseconds of a step, and times the plain layer's:", "")
    yield f"| choice | contestant | operations, times the plain layer's | {' | '.join(map(', '.join, ways))} |"
    yield "|---|---|---|" + "---|" * len(ways)
    for (task, who), found in lines.items():
        own = "demands" in work.get(task, {}) and who == work[task]["contestant"]
        counted = f"{work[task]['operations_over_plain']:.2f}" if own else ""
        yield f"| {task} | {who} | {counted} | {' | '.join(found.get(w, '') for w in ways)} |"
    reasons: dict[str, list[str]] = {}
    for task, row in work.items():
        if row["demands"]:
            reasons.setdefault(row["demands"], []).append(task)
    for why, tasks in reasons.items():
        yield from (
            "",
            f"Not held to the plain layer's time, as the mechanism demands more ({why}): {', '.join(tasks)}.",
        )


if __name__ == "__main__":
    main()
