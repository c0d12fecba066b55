"""A table -> the data set its columns suggest: rows with a target, a series, or plain text."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ..core.errors import InputError, unknown
from . import inspect
from .assemble import assemble
from .base import Dataset
from .raw import Notes, Options, Raw, counted, some
from .series import forecasting
from .tables import Table, kinds, number, read_table
from .text import language
from .timed import ROW, numbered, regular, series_of, time_column

TARGETS = ("target", "label", "class", "y")


def open_table(path: Path, opt: Options) -> Dataset:
    """A table file -> classification, regression, forecasting or language."""
    return from_table(read_table(path), opt)


def from_table(table: Table, opt: Options) -> Dataset:
    found = kinds(table)
    notes = Notes()
    wanted = (
        [name.strip() for name in opt.target.split(",")]
        if opt.target and opt.target not in found
        else [opt.target or ""]
    )
    if opt.target:
        for name in wanted:
            if name not in found:
                raise InputError(f"{table.file}: {unknown('column', name, found)}")
    task = opt.task if opt.task != "auto" else _guess(table, found, wanted, opt, notes)
    if task == "language":
        return _text(table, found, opt, notes)
    if task == "forecasting":
        return _series(table, found, wanted if opt.target else [], opt, notes)
    return assemble(_labelled(table, found, _target(table, found, opt), notes), opt)


def _guess(table: Table, found: dict[str, str], wanted: list[str], opt: Options, notes: Notes) -> str:
    """forecasting, language, or rows with a target, which the labels then decide."""
    asked = [name for name in ("horizon", "lookback", "season") if getattr(opt, name) is not None]
    if asked:
        notes.why.append(f"{asked[0]} is given -> forecasting")
        return "forecasting"
    time = time_column(table, found)
    goal = found.get(wanted[0])
    if goal is None and any(name.lower() in TARGETS and kind == "category" for name, kind in found.items()):
        return "rows"
    other = [n for n, kind in found.items() if kind == "number" and n != time]
    if time and (other if goal is None else goal == "number" and time != wanted[0]) and regular(table, found, time):
        notes.why.append(f"column {time!r} holds evenly spaced times and the rest numbers -> forecasting")
        return "forecasting"
    if goal is None and [k for k in found.values() if k != "empty"] == ["text"]:
        return "language"
    return "rows"


def _target(table: Table, found: dict[str, str], opt: Options) -> str:
    """The target column: as named, or the one that is called like a target."""
    if opt.target is not None:
        if opt.target not in found:
            raise InputError(f"{table.file}: {opt.task} needs one target column, not {opt.target!r}")
        if found[opt.target] == "empty":
            raise InputError(f"{table.file}: target column {opt.target!r} is empty")
        return opt.target
    named = [name for name in found if name.lower() in TARGETS]
    if len(named) != 1:
        raise InputError(
            f"{table.file}: which column is the target? name one with --target (in Python target=...): {', '.join(found)}"
        )
    return named[0]


def _text(table: Table, found: dict[str, str], opt: Options, notes: Notes) -> Dataset:
    """Language on the text column, one document per row."""
    words = [n for n, kind in found.items() if kind == "text"] or [n for n, kind in found.items() if kind == "category"]
    columns = [opt.target] if opt.target else words
    if len(columns) != 1:
        raise InputError(f"{table.file}: language needs one column of text; found {some(columns) or 'none'}")
    inspect.missing(table, notes)
    documents = [
        (f"{table.file}:{table.line[i]}", str(c)) for i, c in enumerate(table.columns[columns[0]]) if c is not None
    ]
    return language(table.file, documents, dataclasses.replace(opt, target=None), notes)


def _series(table: Table, found: dict[str, str], wanted: list[str], opt: Options, notes: Notes) -> Dataset:
    time = time_column(table, found, repeats=True)
    if time is None and set(found.values()) <= {"number", "empty"}:
        time = ROW
        found[ROW] = "number"
        table = numbered(table)
        notes.why.append("no column of times -> each row is one even step")
    if time is None:
        raise InputError(
            f"{table.file}: forecasting needs a column of times (ISO dates, or numbers under a name such as 'time'); "
            f"columns: {', '.join(found)}"
        )
    if not wanted:  # columns that count rows or are empty are no channels
        for name in inspect.useless(table, found, time, notes):
            found.pop(name)
    series, channels, shape, season = series_of(table, found, time, wanted, notes)
    return forecasting(table.file, series, channels, opt, notes, shape, season)


def _labelled(table: Table, found: dict[str, str], target: str, notes: Notes) -> Raw:
    """Rows with a target: as a sequence of columns, or as text when a column holds text."""
    inspect.missing(table, notes)
    _lone_words(table, found, target)
    out = inspect.useless(table, found, target, notes)
    columns = {name: kind for name, kind in found.items() if name != target and name not in out}
    if not columns:
        raise InputError(f"{table.file}: no column is left to learn from beside the target {target!r}")
    inspect.leaks(table, columns, target, notes)
    inspect.unread(table, {n: found[n] for n in found if n != target}, out, notes)
    for name in (n for n, kind in columns.items() if kind == "number"):
        values = [number(c) for c in table.columns[name]]
        inspect.outliers(values, f"column {name!r}", table.at, notes)
    time = time_column(table, columns)
    if time is not None:
        notes.warnings.append(
            f"column {time!r} holds times, and rows are dealt to train and test whatever their time: "
            "if the past must answer for the future, expect less than the test says"
        )
    texts = [name for name, kind in columns.items() if kind == "text"]
    source = [f"{table.file}:{line}" for line in table.line]
    labels = table.columns[target]
    if texts and len(columns) == 1:
        notes.why.append(f"column {texts[0]!r} holds text -> read as text")
        records = ["" if c is None else str(c) for c in table.columns[texts[0]]]
        return Raw(table.file, "text", records, labels, source, f"target {target!r}", columns, notes)
    if texts:
        columns = {n: k for n, k in columns.items() if n not in texts} | dict.fromkeys(texts, "text")
        notes.why.append(
            f"column {some(texts)} holds text beside others -> each row is written out as lines 'name: cell'"
        )
    else:
        numeric = sum(kind == "number" for kind in columns.values())
        notes.why.append(
            f"{counted(len(columns), 'column')} ({numeric} numeric) -> each row is a sequence of its columns"
        )
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*(table.columns[n] for n in columns), strict=True)]
    return Raw(table.file, "text" if texts else "rows", rows, labels, source, f"target {target!r}", columns, notes)


def _lone_words(table: Table, found: dict[str, str], target: str) -> None:
    """The only column to learn from is text, however short, when most of its cells differ."""
    others = [n for n, kind in found.items() if n != target and kind != "empty" and not inspect.COUNTER.search(n)]
    if len(others) == 1 and found[others[0]] == "category" and 2 * len(set(table.columns[others[0]])) > len(table):
        found[others[0]] = "text"
