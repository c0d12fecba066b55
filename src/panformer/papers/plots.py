"""One picture of all that was tested longer than trained: a panel for each task and training, a line for each arm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from ..choose.plots import INK, STYLE
from ..claims import registry
from ..claims.verdict import interval
from ..core.errors import InputError
from .lengths import Seeds, Table

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")  # Okabe and Ito, and grey
MARKS = "os^Dv<>P"
FORMATS = (".svg", ".png")
ACROSS, WIDE, HIGH, LINE = (
    2,
    8.6,
    2.3,
    0.19,
)  # panels side by side; inches: of the picture, a panel, a line of its legend
BESIDE = 0.03  # lines stand this share of the axis beside each other, so that intervals at one length do not cover


def write(found: Sequence[Table], path: Path) -> None:
    """The picture as a file whose name ends in .svg or .png."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: a picture ends in {' or '.join(FORMATS)}")
    if not found:
        raise InputError("no evidence speaks of other lengths than trained; nothing to draw")
    with plt.rc_context({**STYLE, "text.color": "#222", "axes.labelcolor": "#222"}):
        figure = by_length(found)
        try:
            told = {"metadata": {"Date": None, "Creator": None}} if path.suffix.lower() == ".svg" else {"dpi": 150}
            figure.savefig(path, facecolor="white", **told)
        except OSError as fault:
            raise InputError(f"{path}: cannot be written ({fault.strerror})") from None
        finally:
            plt.close(figure)


def by_length(found: Sequence[Table]) -> Figure:
    """Mean over the seeds that did not diverge, and its 95% interval; x: some diverged there, at the worse edge."""
    down = -(-len(found) // ACROSS)
    rows = [found[i * ACROSS : (i + 1) * ACROSS] for i in range(down)]
    high = [HIGH + LINE * max(len(t.lines) for t in row) for row in rows]
    figure, axes = plt.subplots(
        down, ACROSS, figsize=(WIDE, sum(high)), layout="constrained", squeeze=False, height_ratios=high
    )
    for ax in axes.flat[len(found) :]:
        ax.set_visible(False)
    alike = list(dict.fromkeys(arm for table in found if table.comparison for arm in sorted(table.lines)))
    for ax, table in zip(axes.flat, found, strict=False):
        _panel(ax, table, alike if table.comparison else ())
    return figure


def _panel(ax: Axes, table: Table, alike: Sequence[str] = ()) -> None:
    """`alike`: arms that have one ink and mark in several panels; else the order says."""
    task = registry.task(table.task)
    ax.set_xscale("log", base=2)
    for i, (arm, line) in enumerate(_best_first(table, task.lower_is_better)):
        ink = alike.index(arm) if arm in alike else i
        _line(ax, ink, i - (len(table.lines) - 1) / 2, arm, line, task.lower_is_better)
    ax.axvline(table.trained, color=INK, lw=1, ls=":", label="trained length")
    ticks = sorted({table.trained, *table.tests})
    ax.set_xticks(ticks, [str(n) for n in ticks])
    ax.minorticks_off()
    ax.margins(x=0.12)
    ax.set_title(table.title, fontsize=9.5, loc="left")
    ax.set_xlabel("tested at", fontsize=9)
    ax.set_ylabel(f"{task.unit}\n({'lower' if task.lower_is_better else 'higher'} is better)", fontsize=8.5)
    below = ax.transAxes + ScaledTranslation(-0.45, -0.45, ax.figure.dpi_scale_trans)
    ax.legend(
        frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=below, borderaxespad=0
    )


def _best_first(table: Table, lower: bool) -> list[tuple[str, dict[int, Seeds]]]:
    """By the mean at the greatest length of each; arms of which no seed is left come last."""

    def badness(line: tuple[str, dict[int, Seeds]]) -> float:
        last = line[1][max(line[1])].mean
        return math.inf if math.isnan(last) else last if lower else -last

    return sorted(table.lines.items(), key=badness)


def _line(ax: Axes, i: int, place: float, arm: str, line: dict[int, Seeds], lower: bool) -> None:
    colour = COLOURS[i % len(COLOURS)]
    lost = {n: seeds.diverged for n, seeds in line.items() if seeds.diverged}
    name = f"{arm} (x: {max(lost.values())} of {len(line[max(lost)])} seeds diverged)" if lost else arm
    kept = {n: interval(seeds.finite) for n, seeds in sorted(line.items()) if len(seeds.finite) > 1}
    if not lower:  # a share
        kept = {n: found.within(0, 1) for n, found in kept.items()}
    aside = 2 ** (BESIDE * place)
    away = [[f.mean - f.low for f in kept.values()], [f.high - f.mean for f in kept.values()]]
    ax.errorbar([n * aside for n in kept], [f.mean for f in kept.values()], away, color=colour, marker=MARKS[i % len(MARKS)],
                ms=5, lw=1.4, elinewidth=1, capsize=2.5, label=name)  # fmt: skip
    edge = 0.97 if lower else 0.03
    ax.plot(
        [n * aside for n in lost],
        [edge] * len(lost),
        "x",
        color=colour,
        ms=7,
        mew=2,
        transform=ax.get_xaxis_transform(),
    )
