"""Tables that hold series: wide (a time column and channels) or long (an id, a time and a value column)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ..core.errors import InputError, unknown
from .raw import Notes, some
from .series import Series, Shape, even, say_time
from .tables import Table, number, numbers, times

NAMES = ("time", "date", "datetime", "timestamp", "ds", "t", "year", "month", "period", "step")
ID = re.compile(r"id$|^id|series|sensor|station|store|item|group|unit", re.IGNORECASE)  # numbers that name series
WIDEST = 64  # ids that become channels of one series; more stay series of their own
ROW = "row"  # the time of a table without times


def numbered(table: Table) -> Table:
    """The table with its rows counted as times, in a column ROW."""
    return Table(table.file, {**table.columns, ROW: [float(i) for i in range(len(table))]}, table.line, table.unit)


def time_column(table: Table, kinds: dict[str, str], repeats: bool = False) -> str | None:
    """The first column of dates, or a numeric one that is called like a time and does not repeat (unless it may)."""
    dates = [name for name, kind in kinds.items() if kind == "time"]
    if dates:
        return dates[0]
    for name, kind in kinds.items():
        cells = table.columns[name]
        if kind == "number" and name.lower() in NAMES and (repeats or len(set(cells)) == len(cells)):
            return name
    return None


def stamps_of(table: Table, time: str) -> list[float]:
    """Seconds (dates) or numbers of a time column; a missing one is an error."""
    found = times(table, time) or numbers(table, time) or [None] * len(table)
    if None in found:
        i = found.index(None)
        raise InputError(f"{table.file}, {table.at(i)}: time column {time!r} is empty or no time; every row needs one")
    return [s for s in found if s is not None]


def id_column(table: Table, kinds: dict[str, str], time: str, wanted: Sequence[str]) -> str:
    """The column that tells the series apart; empty when no time repeats."""
    stamps = table.columns[time]
    if len(set(stamps)) == len(stamps):
        return ""
    for name, kind in kinds.items():
        cells = table.columns[name]
        fits = kind == "category" or (kind == "number" and ID.search(name) is not None)
        if name not in (time, *wanted) and fits and 4 * len(set(cells)) <= len(cells):
            if None not in cells and len(set(zip(cells, stamps, strict=True))) == len(stamps):
                return name
    seen: dict[object, int] = {}
    for i, stamp in enumerate(stamps):
        if stamp in seen:
            raise InputError(
                f"{table.file}, {table.at(i)}: time {stamp!r} of {time!r} is already at {table.at(seen[stamp])}, "
                "and no column tells series apart"
            )
        seen[stamp] = i
    raise AssertionError("a repeated time was counted but not found")


def regular(table: Table, kinds: dict[str, str], time: str) -> bool:
    """Whether the times of the table (of each of its series) are evenly spaced."""
    stamps = stamps_of(table, time)
    if len(set(stamps)) < 3:
        return False
    return even(sorted(set(stamps)), kinds[time] == "time")[0] is not None


def series_of(
    table: Table, kinds: dict[str, str], time: str, wanted: Sequence[str], notes: Notes, id_name: str | None = None
) -> tuple[list[Series], tuple[str, ...], Shape, int | None]:
    """(series, channels, shape of the file, season of its calendar); `id_name` where the id column is known."""
    id_name = id_column(table, kinds, time, wanted) if id_name is None else id_name
    stamps = stamps_of(table, time)
    numeric = [n for n, k in kinds.items() if k == "number" and n not in (time, id_name)]
    for name in wanted:
        if name not in table.columns:
            raise InputError(f"{table.file}: {unknown('column', name, table.columns)}")
        if name not in numeric:
            raise InputError(
                f"{table.file}: column {name!r} holds no numbers, so it cannot be forecast; numbers: {some(numeric)}"
            )
    channels = tuple(wanted) or tuple(numeric)
    if not channels:
        raise InputError(f"{table.file}: no numeric column beside the time {time!r}; found {some(list(table.columns))}")
    rest = [n for n in table.columns if n not in (*channels, time, id_name)]
    if rest:
        notes.why.append(f"columns {some(rest)} are not forecast and not read")
    if not id_name:
        one, season = _one(table, time, stamps, kinds[time] == "time", channels, range(len(table)), table.file, notes)
        notes.why.append(
            f"column {time!r} holds the time, {some(channels)} the values -> one series of {len(channels)} channels"
        )
        return [one], channels, Shape(time=time), season
    return _long(table, time, stamps, kinds[time] == "time", id_name, channels, notes)


def _long(
    table: Table, time: str, stamps: list[float], calendar: bool, id_name: str, channels: tuple[str, ...], notes: Notes
) -> tuple[list[Series], tuple[str, ...], Shape, int | None]:
    rows: dict[str, list[int]] = {}
    for i, key in enumerate(table.columns[id_name]):
        rows.setdefault(str(key), []).append(i)
    aside = Notes()  # one warning per series would drown the others
    found = {key: _one(table, time, stamps, calendar, channels, index, key, aside) for key, index in rows.items()}
    more = len(aside.warnings) - 3
    notes.warnings += aside.warnings[:3] + ([f"{more:,} more such warnings on other series"] if more > 0 else [])
    season = next(s for _, s in found.values())
    told = f"column {id_name!r} tells {len(rows):,} series apart, {time!r} holds the time"
    same = len({tuple(s.when) for s, _ in found.values()}) == 1
    if same and len(channels) == 1 and len(rows) <= WIDEST:
        notes.why.append(f"{told}; all share their times -> one series of {len(rows)} channels")
        values = np.concatenate([s.values for s, _ in found.values()], 1)
        one = Series(table.file, values, next(iter(found.values()))[0].when)
        return [one], tuple(rows), Shape(time, id_name, channels[0], pivot=True), season
    notes.why.append(f"{told} -> {len(rows):,} series of {len(channels)} channels each")
    return (
        [s for s, _ in found.values()],
        channels,
        Shape(time, id_name, channels[0] if len(channels) == 1 else ""),
        season,
    )


def _one(
    table: Table, time: str, stamps: list[float], calendar: bool, channels: Sequence[str], index: Sequence[int],
    name: str, notes: Notes,
) -> tuple[Series, int | None]:  # fmt: skip
    """The rows `index` as one series on an even grid in order of time; absent steps are NaN."""
    order = sorted(index, key=lambda i: stamps[i])
    if order != list(index):
        notes.warnings.append(f"{name}: rows are not in order of {time!r}; they are sorted")
    values = np.array([[_float(table.columns[c][i]) for c in channels] for i in order])
    when = [stamps[i] for i in order]
    slots, season = even(when, calendar) if len(when) > 2 else (None, None)
    if slots is None:
        if len(when) > 2:
            notes.warnings.append(f"{name}: times in {time!r} are not evenly spaced; rows are taken as even steps")
        return Series(name, values, [say_time(s, calendar) for s in when]), season
    if (np.diff(slots) == 0).any():
        i = order[int(np.argmax(np.diff(slots) == 0)) + 1]
        raise InputError(
            f"{table.file}, {table.at(i)}: {name}: time {table.columns[time][i]!r} falls on the step of the row before"
        )
    absent = int(slots[-1]) + 1 - len(slots)
    if absent:
        gap = int(np.argmax(np.diff(slots) > 1))
        notes.warnings.append(f"{name}: {absent:,} steps are absent (first after {say_time(when[gap], calendar)})")
    full = np.full((int(slots[-1]) + 1, len(channels)), np.nan)
    full[slots] = values
    told = np.interp(np.arange(len(full)), slots, when)
    return Series(name, full, [say_time(round(s) if calendar else s, calendar) for s in told]), season


def _float(cell: object) -> float:
    value = number(cell)  # type: ignore[arg-type]
    return np.nan if value is None else value
