"""What is wrong with labelled data, said before anything trains: an error, a warning, or a row left out."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import InputError
from .base import Kind
from .raw import Notes, Raw, some
from .tables import Table, number

Label = Any  # str | float
FAR = 20  # interquartile ranges from the median beyond which a number is an outlier
DATE = re.compile(r"^\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}\b")  # 5/31/2024: not ISO, and often ambiguous
COUNTER = re.compile(r"^column 1$|^unnamed|id$|index|^row|^obs|^n[or]?$|^#", re.IGNORECASE)  # names of row numbers


def decide(labels: Sequence[Label], wish: str, target: str) -> tuple[Kind, str]:
    """(classification | regression, why), from what the target holds or as asked."""
    values = [number(x) for x in labels]
    words = [x for x, v in zip(labels, values, strict=True) if v is None]
    distinct = Counter(labels)
    rare = len(distinct) > max(20, len(labels) / 2)
    if wish == "regression":
        if words:
            raise InputError(f"{target} holds {words[0]!r}; regression needs numbers only (is it classification?)")
        return "regression", f"task regression, as asked: {target} holds numbers"
    if wish == "classification":
        if rare:
            raise InputError(
                f"{target} holds {len(distinct):,} different values in {len(labels):,} rows; classes must repeat"
                + ("" if words else " (is it regression?)")
            )
        return "classification", f"task classification, as asked: {target} holds {len(distinct)} distinct values"
    if wish != "auto":
        raise InputError(f"task {wish} does not fit labelled rows ({target}); use classification or regression")
    if words:
        if rare:
            raise InputError(
                f"{target} holds {len(distinct):,} different texts in {len(labels):,} rows; it names rows, not classes"
            )
        return "classification", f"{target} holds {len(distinct)} distinct values -> classification"
    whole = all(v is not None and v == int(v) for v in values)
    if whole and len(distinct) <= 20 and len(labels) >= 3 * len(distinct):
        return "classification", f"{target} holds {len(distinct)} distinct whole numbers -> classification"
    return "regression", f"{target} holds {len(distinct):,} distinct numbers -> regression"


def unlabelled(raw: Raw) -> None:
    """Rows without a label, or without content, are left out by name."""
    kept = []
    for i, (record, label) in enumerate(zip(raw.records, raw.labels, strict=True)):
        if label is None:
            raw.notes.refused.append(f"{raw.source[i]}: {raw.target} is missing")
        elif _blank(record):
            raw.notes.refused.append(f"{raw.source[i]}: holds nothing to read")
        else:
            kept.append(i)
    if not kept:
        raise InputError(f"{raw.name}: no row has both {raw.target} and something to read")
    raw.keep(kept)


def _blank(record: Any) -> bool:
    if isinstance(record, dict):
        return all(cell is None for cell in record.values())
    return isinstance(record, str) and not record.strip()


def classes(raw: Raw, keys: Sequence[str]) -> list[int]:
    """Check labels of a classification; the rows to keep. Classes with fewer than 3 different rows are left out."""
    labels = raw.labels
    if len(set(labels)) < 2:
        raise InputError(f"{raw.name}: {raw.target} holds one class only ({labels[0]!r}); at least 2 are needed")
    spelt: dict[str, list[str]] = defaultdict(list)
    for label in dict.fromkeys(labels):
        spelt[" ".join(str(label).casefold().split())].append(str(label))
    for forms in spelt.values():
        if len(forms) > 1:
            where = raw.source[[str(x) for x in labels].index(forms[1])]
            raw.notes.warnings.append(
                f"{raw.target} holds {some(forms)} as different classes, told apart by case or spaces (see {where})"
            )
    different: dict[Label, set[str]] = defaultdict(set)
    for key, label in zip(keys, labels, strict=True):
        different[label].add(key)
    small = {label: len(k) for label, k in different.items() if len(k) < 3}
    if len(different) - len(small) < 2:
        raise InputError(
            f"{raw.name}: {raw.target} has fewer than 2 classes with at least 3 different rows "
            f"(too small to split: {some(sorted(small, key=str))})"
        )
    for label, count in small.items():
        raw.notes.warnings.append(f"class {label!r} has {count} different rows, at least 3 are needed: it is left out")
    for i, label in enumerate(labels):
        if label in small:
            raw.notes.refused.append(f"{raw.source[i]}: class {label!r} is too small to split")
    return [i for i, label in enumerate(labels) if label not in small]


def constant(raw: Raw) -> None:
    """A regression target must vary."""
    if len(set(raw.labels)) < 2:
        raise InputError(f"{raw.name}: {raw.target} is {raw.labels[0]!r} in every row; there is nothing to learn")


def copies(raw: Raw, keys: Sequence[str]) -> None:
    """Say how many rows are copies of another, and how many copies disagree on their label."""
    seen: dict[str, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        seen[key].append(i)
    more = [rows for rows in seen.values() if len(rows) > 1]
    if not more:
        return
    first = ", ".join(raw.source[i] for i in more[0][:3])
    raw.notes.facts["duplicates"] = sum(len(rows) - 1 for rows in more)
    raw.notes.warnings.append(
        f"rows that equal an earlier one in all that is read: {raw.notes.facts['duplicates']:,} (such as {first}); "
        "all copies of a row are kept in one split"
    )
    torn = [rows for rows in more if len({raw.labels[i] for i in rows}) > 1]
    if torn:
        where = ", ".join(raw.source[i] for i in torn[0][:3])
        raw.notes.warnings.append(
            f"copies that carry different labels in {raw.target}: {len(torn):,} sets (such as {where})"
        )


def lengths(raw: Raw, found: Sequence[int], cut: int) -> None:
    """Record lengths; name inputs far longer than the others, and how many are cut at the longest allowed."""
    q = np.percentile(found, [0, 50, 95, 100])
    if q[0] == q[3]:
        return
    raw.notes.facts["lengths"] = dict(zip(("min", "median", "p95", "max"), (int(v) for v in q), strict=True))
    far = [i for i, n in enumerate(found) if n > 10 * q[1]]
    if far:
        longest = max(far, key=lambda i: found[i])
        raw.notes.warnings.append(
            f"{len(far):,} inputs are over 10 times as long as the median of {int(q[1]):,} "
            f"(the longest, {raw.source[longest]}: {found[longest]:,})"
        )
    over = sum(n > cut for n in found)
    if over:
        raw.notes.warnings.append(f"{over:,} inputs are longer than max_length {cut:,} and are cut there")


def missing(table: Table, notes: Notes) -> None:
    """How many cells each column lacks, and where first."""
    counts = {name: sum(c is None for c in cells) for name, cells in table.columns.items()}
    notes.facts["missing"] = {name: n for name, n in counts.items() if n}
    for name, n in notes.facts["missing"].items():
        if n < len(table):
            first = table.columns[name].index(None)
            word = f"; {table.words[name]!r} is read as missing" if name in table.words else ""
            notes.warnings.append(
                f"column {name!r}: {n:,} of {len(table):,} cells are missing (first: {table.at(first)}{word})"
            )


def useless(table: Table, found: dict[str, str], target: str, notes: Notes) -> list[str]:
    """Columns to leave out, each with a warning: empty, constant, naming or counting rows, or copying the target."""
    left_out = []
    for name, cells in table.columns.items():
        if name == target:
            continue
        present = [c for c in cells if c is not None]
        distinct = set(present)
        unique = len(distinct) == len(present) == len(table) > 2
        values = [number(c) for c in cells] if found[name] == "number" else []
        if not present:
            why = "is empty"
        elif len(distinct) == 1 and len(present) == len(table):
            why = f"is {present[0]!r} in every row"
        elif cells == table.columns.get(target) or (
            values and values == [number(c) for c in table.columns.get(target, [])]
        ):
            why = f"equals the target {target!r} in every row (leakage)"
        elif found[name] == "category" and unique:
            why = "differs in every row, so it names rows"
        elif (
            unique
            and COUNTER.search(name)
            and values in ([float(i) for i in range(len(table))], [float(i + 1) for i in range(len(table))])
        ):
            why = "counts the rows"
        else:
            continue
        left_out.append(name)
        notes.warnings.append(f"column {name!r} {why}: it is left out")
    return left_out


def leaks(table: Table, columns: Mapping[str, str], target: str, notes: Notes) -> None:
    """Warn of columns that tell the target: one to one under other names for its values, or on one straight line."""
    goal = table.columns[target]
    values = [number(c) for c in goal]
    for name, kind in columns.items():
        cells = table.columns[name]
        pairs = set(zip(cells, goal, strict=True))
        left, right = {a for a, _ in pairs}, {b for _, b in pairs}
        if kind in ("category", "number") and len(pairs) == len(left) == len(right) and 1 < len(pairs) < len(table) / 2:
            notes.warnings.append(f"column {name!r} tells the target {target!r} one to one: is it a leak?")
        elif kind == "number" and _on_a_line([number(c) for c in cells], values):
            notes.warnings.append(
                f"column {name!r} lies on one straight line with the target {target!r}: is it a leak?"
            )


def _on_a_line(a: Sequence[float | None], b: Sequence[float | None]) -> bool:
    """Whether b is a multiple of a and a constant, to rounding, in all of at least ten rows that have both."""
    x = np.array([(u, v) for u, v in zip(a, b, strict=True) if u is not None and v is not None])
    if len(x) < 10 or len(np.unique(x[:, 1])) < 10 or not x.std(0).all():
        return False
    return bool(1 - abs(np.corrcoef(x.T)[0, 1]) < 1e-8)


def outliers(values: Sequence[float | None], what: str, place: Callable[[int], str], notes: Notes) -> None:
    """Warn of numbers that lie so far off that they alone decide a mean, a deviation or a squared error."""
    known = np.array([np.nan if v is None else v for v in values])
    low, middle, high = np.nanquantile(known, (0.25, 0.5, 0.75))
    far = np.abs(known - middle) > FAR * (high - low)
    if high > low and 0 < far.sum() <= len(known) / 20:
        i = int(np.nanargmax(np.where(far, np.abs(known - middle), np.nan)))
        notes.warnings.append(
            f"{what}: {far.sum():,} of {len(known):,} numbers lie over {FAR} times the middle half's spread away "
            f"(the farthest: {place(i)}, {known[i]:.6g}; median {middle:.6g})"
        )


def unread(table: Table, columns: Mapping[str, str], out: Sequence[str], notes: Notes) -> None:
    """Warn of categories that were perhaps meant as numbers or dates, or that are too many to be learnt."""
    for name in (n for n, kind in columns.items() if kind == "category"):
        cells = [c for c in table.columns[name] if c is not None]
        words = [c for c in cells if number(c) is None]
        distinct = len(set(cells))
        if 2 * len(words) < len(cells):
            what = f"is read as categories, though {len(cells) - len(words):,} of {len(cells):,} cells are numbers"
            notes.warnings.append(f"column {name!r} {what} (not {some(sorted(set(map(str, words))), 3)})")
        elif all(DATE.search(str(c)) for c in cells):
            what = f"holds dates that are not read as such ({cells[0]!r}); write them as 2024-05-31"
            notes.warnings.append(f"column {name!r} {what}")
        elif name not in out and 2 * distinct > len(cells):
            what = (
                f"holds {distinct:,} different words in {len(cells):,} rows: most new ones will be unknown to a model"
            )
            notes.warnings.append(f"column {name!r} {what}")
