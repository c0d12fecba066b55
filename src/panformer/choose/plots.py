"""The pictures of the report: SVG text that takes its ink from the page, so that light and dark both read well."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

INK = "#010203"  # stands for the colour of the page's text until the SVG is written
COLOURS = {"candidate": "#2f80d0", "baseline": "#d07a1f"}
MARKS = {"candidate": "o", "baseline": "s"}
SEEDS = ("#2f80d0", "#d07a1f", "#3a9d5d", "#b455b0")
OFFSETS = ((7, 4), (7, -11), (-7, 4), (-7, -11), (7, 14), (-7, 14), (7, -21), (-7, -21))
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10, "text.color": INK, "axes.edgecolor": INK,
    "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25, "grid.color": INK, "svg.hashsalt": "panformer",
}  # fmt: skip


def against(entries: Sequence[dict[str, Any]], front: Sequence[str], x: str, lower: bool, measure: str) -> str:
    """Test quality over a cost, with intervals; the Pareto front of these two is a line. `x`: latency or size."""
    name = {"latency": "median latency of one row, ms", "size": "size on disk, MB"}[x]

    def draw(ax: Axes) -> None:
        at = {e["name"]: e["latency"]["1"]["median"] if x == "latency" else e["size_mb"] for e in entries}
        narrow = max(at.values()) < 10 * min(at.values())  # too few powers of ten to read the axis by
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if narrow and f"{value:e}"[0] in "25" else "")
        for e in entries:
            _bar(ax, at[e["name"]], e, vertical=True)
        best = _best_so_far(sorted((at[e["name"]], e["test"]["mean"]) for e in entries), lower)
        if len(best) > 1:
            ax.plot(*zip(*best, strict=True), color=INK, lw=1, ls="--", alpha=0.6, zorder=1)
        ax.margins(0.2, 0.1)
        ax.set_xlabel(name)
        ax.set_ylabel(f"test {measure} ({'lower' if lower else 'higher'} is better)")
        _label(
            ax, [(at[e["name"]], e["test"]["mean"], e["name"] + (" *" if e["name"] in front else "")) for e in entries]
        )

    return svg(draw, (6.4, 4.0))


def spread(entries: Sequence[dict[str, Any]], measure: str) -> str:
    """Every seed as a dot, the interval as a bar, one row per contender."""

    def draw(ax: Axes) -> None:
        for row, e in enumerate(reversed(entries)):
            _bar(ax, row, e, vertical=False)
            ax.plot([r["test"] for r in e["runs"]], [row] * len(e["runs"]), "|", color=INK, ms=10, zorder=3)
        ax.set_yticks(range(len(entries)), [e["name"] for e in reversed(entries)])
        ax.set_xlabel(f"test {measure}: mean, 95% interval, and each seed as a tick")

    return svg(draw, (6.4, 0.6 + 0.34 * len(entries)))


def curves(entries: Sequence[dict[str, Any]], measure: str) -> str:
    """Validation quality over the steps of every finalist's training, one line per seed."""

    def draw(ax: Axes) -> None:
        for e, colour in zip(entries, SEEDS, strict=False):
            for k, run in enumerate(e["runs"]):
                steps, values = zip(*run["curve"]["checks"], strict=True)
                ax.plot(steps, values, color=colour, lw=1.3, marker="o", ms=3, label=e["name"] if k == 0 else None)
        ax.set_xlabel("training step")
        ax.set_ylabel(f"validation {measure}")
        ax.legend(frameon=False)

    return svg(draw, (6.4, 3.4))


def _bar(ax: Axes, at: float, entry: dict[str, Any], vertical: bool) -> None:
    mean, low, high = (entry["test"][n] for n in ("mean", "low", "high"))
    away = None if low is None or high is None else [[max(0.0, mean - low)], [max(0.0, high - mean)]]
    x, y, of_x, of_y = (at, mean, None, away) if vertical else (mean, at, away, None)
    mark, colour = MARKS[entry["kind"]], COLOURS[entry["kind"]]
    ax.errorbar(x, y, of_y, of_x, fmt=mark, color=colour, ms=6, elinewidth=1.3, capsize=3, zorder=2)


def _best_so_far(points: list[tuple[float, float]], lower: bool) -> list[tuple[float, float]]:
    kept: list[tuple[float, float]] = []
    for x, y in points:
        if not kept or (y < kept[-1][1] if lower else y > kept[-1][1]):
            kept.append((x, y))
    return kept


def _label(ax: Axes, points: list[tuple[float, float, str]]) -> None:
    """Names beside their points, each at the first place around it where it covers no other name or mark."""
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]  # so that places are known
    draw = ax.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    ends = ax.transData.transform([(x, y) for x, y, _ in points])
    taken: list[Any] = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in ends]  # the marks themselves
    for x, y, name in sorted(points, key=lambda p: -p[1]):
        text = ax.annotate(name, (x, y), xytext=OFFSETS[0], textcoords="offset points", fontsize=8.5)
        for dx, dy in OFFSETS:
            text.set_position((dx, dy))
            text.set_horizontalalignment("left" if dx > 0 else "right")
            box = text.get_window_extent(draw)
            inside = ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1
            if inside and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)


def svg(draw: Any, size: tuple[float, float]) -> str:
    """A picture as text, in the colours of the page that holds it."""
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=size, layout="constrained")
        try:
            draw(ax)
            out = io.StringIO()
            figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        finally:
            plt.close(figure)
    text = out.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")
