"""The pictures of a comparison: quality over length, and quality over what an answer costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from ..choose.plots import svg

COLOURS = ("#2f80d0", "#d07a1f", "#3a9d5d", "#b455b0", "#c23b4b", "#6b6f2a", "#1c9aa0", "#7a5ad0")
MARKS = "osD^vPX*"
Record = Mapping[str, Any]


def by_length(record: Record) -> str:
    """Mean and interval of every arm at every length, one line per arm and width."""

    def draw(ax: Axes) -> None:
        for i, (arm, size) in enumerate(_lines(record)):
            rows = [r for r in _rows(record) if (r["arm"], r["size"]) == (arm, size)]
            rows.sort(key=lambda r: r["length"])
            name = arm if len(record["sizes"]) == 1 else f"{arm}, width {size}"
            ax.errorbar([r["length"] for r in rows], [r["mean"] for r in rows], _away(rows), color=COLOURS[i % 8],
                        marker=MARKS[i % 8], ms=5, lw=1.4, capsize=3, label=name)  # fmt: skip
        if len(record["lengths"]) > 1:
            ax.set_xscale("log", base=2)
        ax.set_xticks(record["lengths"], [str(n) for n in record["lengths"]])
        ax.minorticks_off()
        ax.set_xlabel(str(record["size_is"]))
        _quality(ax, record)

    return svg(draw, (6.4, 3.8))


def by_cost(record: Record) -> str:
    """Mean and interval over the latency of one sequence; one point per arm, length and width."""

    def draw(ax: Axes) -> None:
        for i, (arm, size) in enumerate(_lines(record)):
            rows = [r for r in _rows(record) if (r["arm"], r["size"]) == (arm, size)]
            name = arm if len(record["sizes"]) == 1 else f"{arm}, width {size}"
            ax.errorbar([r["latency_ms"] for r in rows], [r["mean"] for r in rows], _away(rows), color=COLOURS[i % 8],
                        fmt=MARKS[i % 8], ms=6, capsize=3, label=name)  # fmt: skip
        ax.set_xlabel("median latency of one sequence, ms")
        _quality(ax, record)

    return svg(draw, (6.4, 3.8))


def _quality(ax: Axes, record: Record) -> None:
    better = "lower" if record["lower_is_better"] else "higher"
    ax.set_ylabel(f"{record['measure']} ({better} is better)")
    told = (
        record["chance"] if isinstance(record["chance"], list) else [record["chance"]]
    )  # one per length where they differ
    for i, chance in enumerate(sorted({c for c in told if c is not None})):
        ax.axhline(chance, lw=1, ls=":", color="#808080", label=None if i else "chance")
    ax.legend(frameon=False, fontsize=9)


def _rows(record: Record) -> list[Mapping[str, Any]]:
    return [r for r in record["summary"] if r["mean"] is not None]


def _lines(record: Record) -> list[tuple[str, int]]:
    return list(dict.fromkeys((r["arm"], r["size"]) for r in record["summary"]))


def _away(rows: list[Mapping[str, Any]]) -> list[list[float]]:
    """How far the interval reaches below and above the mean."""
    return [
        [0.0 if r["low"] is None else r["mean"] - r["low"] for r in rows],
        [0.0 if r["high"] is None else r["high"] - r["mean"] for r in rows],
    ]
