"""Recorded studies of an arm against itself as tables. Printed in docs/comparing.md and in the atlas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..compare.report import share
from .tables import Table

Record = Mapping[str, Any]


def whole(records: Sequence[Record]) -> Table:
    """A line for each study, and one for all rows of all."""
    lines = [
        (r["name"], r["arm"], len(r["rows"]), sum(x["runs"] for x in r["rows"]), r["seeds"], share(r["false_wins"]))
        for r in records
    ]
    if len(records) > 1:
        rows = [x for r in records for x in r["rows"]]
        known = [x["false_wins"] for x in rows if x["false_wins"] is not None]
        mean = sum(known) / len(known) if known else None
        lines.append(("all", "", len(rows), sum(x["runs"] for x in rows), "", share(mean)))
    return Table("All studies", ("suite", "arm", "tasks", "runs", "seeds of a set", "false wins"), lines)


def of_suite(told: Record) -> Table:
    """A line for each task of one study."""
    heads = ("task", "length", "width", "steps", "measured", "lowest", "mean", "highest", "false wins")
    lines = [
        (x["task"], f"{x['size_is']} {x['length']}", x["size"], x["steps"], x["measure"], *map(_short, (x["lowest"], x["mean"],
         x["highest"])), share(x["false_wins"]))
        for x in told["rows"]
    ]  # fmt: skip
    note = (
        f"{told['pairs']} pairs of runs of {told['arm']} a task; a pair shares the test and nothing else. "
        f"{told['sets']} sets of {told['seeds']} gains are drawn of them, each with a sign by coin."
    )
    return Table(told["name"], heads, lines, note)


def markdown(records: Sequence[Record]) -> Iterator[str]:
    """The tables and the commands behind them, for the documentation."""
    yield from (*whole(records).markdown(), "")
    for told in records:
        table = of_suite(told)
        yield from (f"### {table.title}", "", table.note, "", *table.markdown(), "")
        yield from (f"`{told['command']}`, {told['machine']['cpu']}, {told['date'][:10]}.", "")


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
