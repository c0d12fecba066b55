"""Small pictures as SVG text that takes its ink from the page: points of arms with an interval, and lines over lengths.

Own text, since a hundred pages of a plotting library take minutes. Every picture says in words what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import NamedTuple

WIDE, LEFT, RIGHT, ROW = 520, 128, 16, 30
SIDE = 78  # left of a picture with two axes
AXES = "plot axes"  # has room for larger text, which a narrow window needs
MARKS = 4  # shapes told apart without colour
SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", "M-3.6-3.6h7.2v7.2h-7.2z", "M0-4.6L4.4 3.4h-8.8z", "M0-5L4.6 0L0 5L-4.6 0z",
)  # fmt: skip
BESIDE = ((8, 4), (8, -8), (8, 16), (-18, 4), (-18, -8), (-18, 16))  # where the number of a point may stand
Scale = Callable[[float], float]


class Band(NamedTuple):
    """What was expected: a stretch of the axis, open where None, and its name."""

    low: float | None
    high: float | None
    name: str


class Line(NamedTuple):
    name: str
    points: Sequence[tuple[float, float]]


class Spot(NamedTuple):
    """A point with an interval."""

    name: str
    x: float
    y: float
    low: float
    high: float


def strips(
    arms: Mapping[str, Sequence[float]],
    label: str,
    interval: tuple[float, float, float] | None = None,
    band: Band | None = None,
    log: bool = False,
    about: str = "",
) -> str:
    """A row of points for each arm (one point a seed); with `interval` alone, one row of (low, mean, high)."""
    numbers = [v for values in arms.values() for v in values if math.isfinite(v)]
    if interval:
        numbers += [v for v in interval if math.isfinite(v)]
    edges = [v for v in (band[:2] if band else ()) if v is not None and (v > 0 or not log)]
    if log:
        numbers = [v for v in numbers if v > 0]
    numbers += edges
    if not numbers:
        return ""
    rows = len(arms) + bool(interval)
    high = 26 + rows * ROW
    at, ticks = _axis(min(numbers), max(numbers), log, LEFT, WIDE - RIGHT)
    out = []
    if band:
        a = at(band.low) if band.low is not None and (band.low > 0 or not log) else LEFT - 8
        b = at(band.high) if band.high is not None else WIDE - RIGHT + 8
        out.append(
            f'<rect class="band" x="{min(a, b):.1f}" y="12" width="{max(abs(b - a), 2):.1f}" height="{high - 12}"/>'
        )
        out.append(
            f'<text class="note" x="{min(max((a + b) / 2, LEFT + 40), WIDE - 90):.1f}" y="9" text-anchor="middle">{escape(band.name)}</text>'
        )
    for i, (name, values) in enumerate(arms.items()):
        y = 28 + i * ROW
        out.append(_row(y, name))
        shown = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
        for k, v in enumerate(shown):
            off = (k - (len(shown) - 1) / 2) * min(4.0, 14 / max(len(shown), 1))
            out.append(_mark(at(v), y + off, i, f"{name}: {v:.6g}"))
        lost = len(values) - len(shown)
        if lost:
            out.append(f'<text class="note" x="{LEFT}" y="{y + 4}">{lost} {"at 0" if log else "not finite"}</text>')
    if interval:
        y = 28 + len(arms) * ROW
        out.append(_row(y, "95% interval"))
        low, mean, top = (_within(at, v) for v in interval)
        out.append(
            f'<path class="bar" d="M{low:.1f} {y}H{top:.1f}M{low:.1f} {y - 5}v10M{top:.1f} {y - 5}v10"/>{_mark(mean, y, 0, f"mean {interval[1]:.6g}")}'
        )
    out.append(_ticks(at, ticks, high, label))
    return _svg(high + 42, "".join(out), about or label)


def lines(
    found: Sequence[Line],
    across: str,
    up: str,
    about: str,
    log: tuple[bool, bool] = (True, True),
) -> str:
    """Values over lengths, both on a scale of powers where `log` says so."""
    points = [
        p
        for line in found
        for p in line.points
        if all(map(math.isfinite, p)) and all(v > 0 or not g for v, g in zip(p, log, strict=True))
    ]
    if not points:
        return ""
    high, end = 250, WIDE - 34
    xs, ys = zip(*points, strict=True)
    at, ticks = _axis(min(xs), max(xs), log[0], SIDE, end)
    ticks = _roomy(sorted(set(xs)), at) if len(set(xs)) <= 7 else ticks
    to, steps = _axis(min(ys), max(ys), log[1], high - 12, 14)
    out = [_ticks(at, ticks, high, across), _rungs(to, steps, up, high, end)]
    kept = [[p for p in line.points if p in points] for line in found]
    places = _apart([to(line[-1][1]) if line else high for line in kept])
    for i, (line, shown, y) in enumerate(zip(found, kept, places, strict=True)):
        if shown:
            path = "L".join(f"{at(x):.1f} {to(v):.1f}" for x, v in shown)
            out.append(f'<path class="line s{i % MARKS}" d="M{path}"/>')
            out.append(_number(i, at(shown[-1][0]) + 9, y + 4, len(found)))
        out += [_mark(at(x), to(v), i, f"{line.name}, {x:g}: {v:.6g}") for x, v in shown]
    return _svg(high + 42, "".join(out), about, AXES) + _legend([line.name for line in found])


def scatter(spots: Sequence[Spot], across: str, up: str, about: str) -> str:
    """Quality against a cost: one mark with its interval for each arm, named beside it."""
    found = [s for s in spots if s.x > 0 and all(map(math.isfinite, s[1:]))]
    if not found:
        return ""
    high, end = 270, WIDE - RIGHT
    at, ticks = _axis(min(s.x for s in found), max(s.x for s in found), True, SIDE, end)
    to, steps = _axis(min(s.low for s in found), max(s.high for s in found), False, high - 12, 14)
    out = [_ticks(at, ticks, high, across), _rungs(to, steps, up, high, end)]
    taken: list[tuple[float, float]] = []
    for i, s in enumerate(found):
        x, y = at(s.x), to(s.y)
        out.append(f'<path class="bar" d="M{x:.1f} {to(s.low):.1f}V{to(s.high):.1f}"/>')
        out.append(_mark(x, y, i, f"{s.name}: {s.y:.4g} at {s.x:.4g}"))
        free = [(x + dx, y + dy) for dx, dy in BESIDE if all(abs(x + dx - a) + abs(y + dy - b) > 14 for a, b in taken)]
        taken.append((free or [(x + 8, y + 4)])[0])
        out.append(_number(i, *taken[-1], len(found)))
    return _svg(high + 42, "".join(out), about, AXES) + _legend([s.name for s in found])


def bar(counts: Mapping[str, int], order: Sequence[str], width: int = 240) -> str:
    """How many of each kind, as one stacked bar; the numbers stand beside it in the page."""
    total = max(sum(counts.values()), 1)
    x, out = 0.0, list[str]()
    for name in order:
        wide = width * counts.get(name, 0) / total
        if wide:
            out.append(
                f'<rect class="{name.replace(" ", "-")}" x="{x:.1f}" width="{max(wide - 1, 1):.1f}" height="14"/>'
            )
        x += wide
    return f'<svg class="share" viewBox="0 0 {width} 14" aria-hidden="true" focusable="false">{"".join(out)}</svg>'


def _svg(high: float, inner: str, about: str, kind: str = "plot") -> str:
    return f'<svg class="{kind}" viewBox="0 0 {WIDE} {high:.0f}" role="img" aria-label="{escape(about)}">{inner}</svg>'


def _row(y: float, name: str) -> str:
    return f'<path class="guide" d="M{LEFT} {y}H{WIDE - RIGHT}"/><text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(name)}</text>'


def _mark(x: float, y: float, kind: int, told: str) -> str:
    """A circle, square, triangle or diamond, so that arms differ without colour too."""
    k = kind % MARKS
    return f'<path class="mark s{k}" transform="translate({x:.1f} {y:.1f})" d="{SHAPES[k]}"><title>{escape(told)}</title></path>'


def _number(kind: int, x: float, y: float, many: int) -> str:
    """The number by which the legend names a line or point, where there are several."""
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}">{kind + 1}</text>' if many > 1 else ""


def _legend(names: Sequence[str]) -> str:
    """Under the picture, as text that a narrow window may break."""
    if len(names) < 2:
        return ""
    marks = (
        f'<svg viewBox="-6 -6 12 12" aria-hidden="true"><path class="mark s{i % MARKS}" d="{SHAPES[i % MARKS]}"/></svg>'
        for i in range(len(names))
    )
    return f'<ol class="legend">{"".join(f"<li>{mark} {i}. {escape(name)}</li>" for i, (mark, name) in enumerate(zip(marks, names), 1))}</ol>'


def _within(at: Scale, value: float) -> float:
    """Where a value stands, at the edge where it is beyond it."""
    if not math.isfinite(value):
        return WIDE - RIGHT if value > 0 else LEFT
    return min(max(at(value), LEFT), WIDE - RIGHT)


def _ticks(at: Scale, ticks: Sequence[float], high: float, label: str) -> str:
    out = [
        f'<path class="axis" d="M{at(t):.1f} {high}v5"/><text class="tick" x="{at(t):.1f}" y="{high + 17}" text-anchor="middle">{_short(t)}</text>'
        for t in ticks
    ]
    middle = (at(ticks[0]) + at(ticks[-1])) / 2
    return (
        "".join(out)
        + f'<text class="label" x="{middle:.1f}" y="{high + 36}" text-anchor="middle">{escape(label)}</text>'
    )


def _rungs(to: Scale, steps: Sequence[float], label: str, high: float, end: float) -> str:
    out = [
        f'<path class="guide" d="M{SIDE} {to(t):.1f}H{end}"/><text class="tick" x="{SIDE - 8}" y="{to(t) + 4:.1f}" text-anchor="end">{_short(t)}</text>'
        for t in steps
    ]
    return (
        "".join(out)
        + f'<text class="label" transform="translate(13 {high / 2}) rotate(-90)" text-anchor="middle">{escape(label)}</text>'
    )


def _axis(low: float, high: float, log: bool, start: float, end: float) -> tuple[Scale, list[float]]:
    """(where a value stands, the round values that are written)."""
    if log:
        a, b = math.log10(low), math.log10(high)
        pad = max((b - a) * 0.06, 0.05)
        a, b = max(a - pad, -306), min(b + pad, 306)
        powers = range(math.ceil(a), math.floor(b) + 1)
        skip = max(1, -(-len(powers) // 6))
        ticks = [10.0**p for p in powers][::skip]
        if len(ticks) < 2:
            ticks = [
                m * 10.0**p
                for p in range(math.floor(a), math.ceil(b) + 1)
                for m in (1, 2, 5)
                if a <= math.log10(m) + p <= b
            ]
        ticks = ticks if len(ticks) > 1 else [low, high] if low != high else [low]
        return (lambda v: start + (math.log10(max(v, 1e-300)) - a) / (b - a) * (end - start)), ticks
    pad = (high - low) * 0.06 or max(abs(high) * 0.1, 0.1)
    a, b = low - pad, high + pad
    step = 10 ** math.floor(math.log10((b - a) / 4))
    step = next(step * m for m in (1, 2, 5, 10) if (b - a) / (step * m) <= 6)
    ticks = [k * step for k in range(math.ceil(a / step), math.floor(b / step) + 1)]
    return (lambda v: start + (v - a) / (b - a) * (end - start)), ticks


def _apart(places: Sequence[float], room: float = 15) -> list[float]:
    """The same places, moved so that text at them does not overlap."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    out = list(places)
    for before, i in zip(order, order[1:], strict=False):
        out[i] = max(out[i], out[before] + room)
    over = max(out, default=0) - 250
    return [y - max(over, 0) for y in out]


def _roomy(ticks: Sequence[float], at: Scale, room: float = 40) -> list[float]:
    """Those whose numbers do not touch the one before."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or at(tick) - at(kept[-1]) >= room:
            kept.append(tick)
    return kept


def _short(value: float) -> str:
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return f"{value:.6g}"
