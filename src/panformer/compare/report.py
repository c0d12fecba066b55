"""What a comparison leaves to read: record.json, a table, and two pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]


def write(records: Sequence[Record], folder: Path) -> list[Path]:
    """`record.json`, or one for each task of a suite, and beside it the pictures."""
    from ..choose.report import replace_file
    from . import plots

    out = []
    for record in records:
        stem = "record" if len(records) == 1 else record["name"]
        path = folder / f"{stem}.json"
        replace_file(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
        for name, draw in (("quality", plots.by_length), ("cost", plots.by_cost)):
            replace_file(folder / f"{stem}-{name}.svg", draw(record))
        out.append(path)
    return out


def write_null(told: Record, folder: Path) -> list[Path]:
    """`null.json`."""
    from ..choose.report import replace_file

    replace_file(folder / "null.json", json.dumps(told, indent=1, allow_nan=False) + "\n")
    return [folder / "null.json"]


def terminal(record: Record) -> None:
    """Every cell as a table, best first, and the pairs that could be told apart."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    budget = record["budget"]
    better = "lower" if record["lower_is_better"] else "higher"
    console.print(
        f"[bold]{escape(record['name'])}[/bold]: {escape(record['about'])} · {record['measure']}, {better} is better · "
        f"equal {budget['by']}, {record['seeds']} seeds, rates {', '.join(f'{r:g}' for r in budget['rates'])}"
    )
    for length, size in _cells(record):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left",
                      title=f"{record['size_is']} {length}, width {size}")  # fmt: skip
        for name in ("", "mean", "95%", "parameters", "GFLOPs", "steps", "s", "ms", "peak MB"):
            table.add_column(name, justify="left" if name == "" else "right", no_wrap=True)
        mine = [r for r in record["summary"] if (r["length"], r["size"]) == (length, size)]
        for row in sorted(mine, key=lambda r: r["rank"] or 99):
            table.add_row(*_line(row))
        console.print(table)
        told = [p for p in record["pairs"] if (p["length"], p["size"]) == (length, size)]
        for pair in told:
            if pair["verdict"] != "not told apart":
                console.print(
                    f"  {escape(pair['a'])} - {escape(pair['b'])}: {pair['gain']:+.4g} "
                    f"[{_number(pair['low'])}, {_number(pair['high'])}], p {pair['p_holm']:.3g}: {escape(pair['verdict'])}"
                )
        apart = sum(p["verdict"] != "not told apart" for p in told)
        console.print(f"  {apart} of {len(told)} pairs told apart (Holm over the pairs of this table)\n")


def null_terminal(told: Record) -> None:
    """False wins of an arm against itself, a row for each task and cell."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print(
        f"[bold]{escape(told['name'])}[/bold]: {escape(told['arm'])} against itself, {told['pairs']} pairs of runs a row, "
        f"of which {told['sets']} sets of {told['seeds']} seeds are judged"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("task", "length", "width", "steps", "lowest", "mean", "highest", "s", "false wins"):
        table.add_column(name, justify="left" if name == "task" else "right", no_wrap=True)
    for row in told["rows"]:
        table.add_row(
            escape(row["task"]), str(row["length"]), str(row["size"]), str(row["steps"]), *(_number(row[k]) for k in
            ("lowest", "mean", "highest")), f"{row['seconds']:.0f}", share(row["false_wins"]),
        )  # fmt: skip
    console.print(table)
    console.print(f"false wins: {share(told['false_wins'])} (at most 5% is wanted)")


def share(value: float | None) -> str:
    return "too few runs" if value is None else f"{value:.1%}"


def _cells(record: Record) -> list[tuple[int, int]]:
    return list(dict.fromkeys((r["length"], r["size"]) for r in record["summary"]))


def _line(row: Mapping[str, Any]) -> list[str]:
    from rich.markup import escape

    mean = f"diverged {row['diverged']}/{row['seeds']}" if row["mean"] is None else f"{row['mean']:.4g}"
    return [
        escape(row["arm"]), mean, f"{_number(row['low'])} to {_number(row['high'])}", f"{row['parameters']:,}",
        f"{row['flops'] / 1e9:.3g}", str(row["steps"]), f"{row['seconds']:.1f}", f"{row['latency_ms']:.2f}",
        f"{row['peak_bytes'] / 1e6:.2f}",
    ]  # fmt: skip


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.4g}"
