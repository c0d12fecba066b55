"""Pictures of recorded benchmarks as SVG on white: bars of rates, or lines of time over length. Used by tools/speed.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from panformer.atlas.speed import way

OURS, THEIRS = "#2f80d0", "#c9a27a"
OWN = ("panformer", "triton")  # contestants of that colour; other kernels of ours stand for what they are compared with
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9, "axes.spines.top": False,
    "axes.spines.right": False, "svg.hashsalt": "panformer",
}  # fmt: skip
ACROSS = 2  # panels side by side
AXES = ("tokens", "seconds")


def draw(told: Mapping[str, Any], path: Path) -> None:
    """One picture of a suite's rows: by length where they have lengths, else a panel of bars for every job."""
    with plt.rc_context(STYLE):
        rows = told["rows"]
        if "length" in rows[0]:
            figure = _lines(rows, told.get("axes", AXES))
        else:
            figure = _times(rows) if "over_plain" in rows[0] else _bars(rows)
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
        plt.close(figure)


def _name(row: Mapping[str, Any]) -> str:
    name = " ".join(str(row[k]) for k in ("contestant", "form") if k in row)
    return name if row["precision"] in name.split() else f"{name} {row['precision']}"


def _bars(rows: Sequence[Mapping[str, Any]]) -> Any:
    jobs = {job: [r for r in rows if r["task"] == job] for job in dict.fromkeys(r["task"] for r in rows)}
    jobs = {job: sorted(mine, key=lambda r: r["rate"]) for job, mine in jobs.items() if len(mine) > 1}
    sizes = [len(mine) for mine in jobs.values()]
    lines = [max(sizes[i : i + ACROSS]) for i in range(0, len(sizes), ACROSS)]
    figure, axes = plt.subplots(
        len(lines), min(ACROSS, len(jobs)), figsize=(10, sum(0.9 + 0.19 * n for n in lines)), layout="constrained",
        squeeze=False, height_ratios=[0.9 + 0.19 * n for n in lines],
    )  # fmt: skip
    for ax, (job, mine) in zip(axes.flat, jobs.items(), strict=False):
        ours = [OURS if r["contestant"].startswith(OWN) else THEIRS for r in mine]
        ax.barh([_name(r) for r in mine], [r["rate"] for r in mine], color=ours)
        ax.set_title(job, fontsize=10, loc="left")
        ax.set_xlabel(mine[0]["unit"])
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.margins(y=0.02)
    for ax in axes.flat[len(jobs) :]:
        ax.set_visible(False)
    return figure


def _times(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Times over that of the plain layer, a row of panels for every family and a panel for every form."""
    families = list(dict.fromkeys(r["task"].partition(" ")[0] for r in rows))
    forms = list(dict.fromkeys((r["precision"], r["form"]) for r in rows))
    names = {f: list(dict.fromkeys(map(_choice, (r for r in rows if r["task"].startswith(f + " "))))) for f in families}
    high = [0.5 + 0.19 * len(names[f]) for f in families]
    figure, axes = plt.subplots(
        len(families), len(forms), figsize=(12, sum(high) + 0.5), layout="constrained", squeeze=False, sharex="row",
        height_ratios=high,
    )  # fmt: skip
    for line, family in zip(axes, families, strict=True):
        for ax, form in zip(line, forms, strict=True):
            mine = {_choice(r): r for r in rows if (r["precision"], r["form"]) == form}
            shown = [n for n in reversed(names[family]) if n in mine]
            colours = [OURS if mine[n]["contestant"] in OWN else THEIRS for n in shown]
            places = [names[family][::-1].index(n) for n in shown]
            ax.barh(places, [mine[n]["over_plain"] for n in shown], color=colours)
            ax.axvline(1, color="#444444", linewidth=0.8)
            ax.set_yticks(range(len(names[family])), names[family][::-1] if ax is line[0] else [])
            ax.set_title(f"{family}: {', '.join(form)}", fontsize=8.5, loc="left")
            ax.margins(y=0.02)
    figure.supxlabel("time over the plain layer's", fontsize=9)
    return figure


def _choice(row: Mapping[str, Any]) -> str:
    name = str(row["task"]).partition(" ")[2]
    return name if row["contestant"] in OWN else f"{name} ({row['contestant']})"


def _lines(rows: Sequence[Mapping[str, Any]], axes_are: Sequence[str]) -> Any:
    """Seconds over tokens, a panel for every job and precision: ours, its peers, and softmax attention to compare with."""
    base = rows[0]["task"]
    panels = [
        (j, p) for p in dict.fromkeys(r["precision"] for r in rows) for j in dict.fromkeys(r["task"] for r in rows)
    ]
    panels = [(j, p) for j, p in panels if j != base and any((r["task"], r["precision"]) == (j, p) for r in rows)]
    down = -(-len(panels) // 4)
    figure, axes = plt.subplots(
        down, 4, figsize=(12, 2.3 * down), layout="constrained", squeeze=False, sharex=True, sharey=True
    )
    for ax, (job, precision) in zip(axes.flat, panels, strict=False):
        for task, name, colour, style in (
            (base, "panformer", "#888888", ":"),
            *((job, n, THEIRS, "--") for n in _peers(rows, job)),
            (job, "panformer", OURS, "-"),
        ):
            _line(ax, [r for r in rows if (r["task"], r["contestant"], r["precision"]) == (task, name, precision)],
                  base if task == base else name, colour, style)  # fmt: skip
        ax.set_title(f"{job}, {precision}", fontsize=8.5, loc="left")
        ax.legend(frameon=False, fontsize=7)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    ways = list(dict.fromkeys(map(way, rows)))
    figure.supxlabel(
        axes_are[0] + (f" (pale: {', '.join(ways[:-1])}; full: {ways[-1]})" if len(ways) > 1 else ""), fontsize=9
    )
    figure.supylabel(axes_are[1], fontsize=9)
    return figure


def _peers(rows: Sequence[Mapping[str, Any]], job: str) -> list[str]:
    return sorted({r["contestant"] for r in rows if r["task"] == job and r["contestant"] != "panformer"})


def _line(ax: Axes, rows: Sequence[Mapping[str, Any]], name: str, colour: str, style: str) -> None:
    """One line for each way of running, the last of them in full colour."""
    ways = list(dict.fromkeys(map(way, rows)))
    for one in ways:
        mine = [r for r in rows if way(r) == one]
        last = one == ways[-1]
        ax.loglog(
            [r["length"] for r in mine], [r["seconds"]["median"] for r in mine], style, color=colour, marker="o", ms=3,
            alpha=1.0 if last else 0.35, label=name if last else None,
        )  # fmt: skip
