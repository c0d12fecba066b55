"""Tables from CSV, TSV, JSONL (also gzipped) and Parquet, cell by cell, so that a fault can be named by line.

The standard library reads the text formats: a data-frame library would be faster, but reports neither the
line of a short row nor the byte of a bad character. Parquet needs pyarrow.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import zlib
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from ..core.errors import InputError, require
from .raw import decode, read_bytes, reason, some

Cell = str | float | None  # None: missing
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>", "#n/a"})
MARKS = frozenset({"?", "-", "--", ".", "n.a."})  # of a missing number; elsewhere they may be a class
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?")  # 1.234,5
GROUPS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")  # 1,234.5
UNIT = re.compile(r"^([+-]?)[$€£] ?|(?<=\d) ?[%$€£]$")
DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})\b")  # 31.12.2024


@dataclass
class Table:
    """Columns of equal length; `line[i]` is where row i stands, counted as `unit` counts."""

    file: str
    columns: dict[str, list[Cell]]
    line: list[int]
    unit: str = "line"  # text files; Parquet has rows
    words: dict[str, str] = field(default_factory=dict)  # column -> the first word read as missing

    def __len__(self) -> int:
        return len(self.line)

    def at(self, row: int) -> str:
        return f"{self.unit} {self.line[row]}"


def is_table(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(SUFFIXES)


def read_table(path: Path) -> Table:
    """Any known table format, by its ending."""
    name = path.name.lower()
    if name.endswith(".parquet"):
        table = _parquet(path)
    else:
        data = read_bytes(path)
        if name.endswith(".gz"):
            try:
                data = gzip.decompress(data)
            except (OSError, EOFError, zlib.error) as fault:
                raise InputError(f"{path}: is not a whole gzip file ({reason(fault)})") from None
        text = decode(data, path)
        kind = Path(name.removesuffix(".gz")).suffix
        table = (
            _jsonl(path, text) if kind in (".jsonl", ".ndjson") else _csv(path, text, "\t" if kind == ".tsv" else None)
        )
    if not len(table):
        raise InputError(f"{path}: holds a header ({some(list(table.columns))}) but no rows")
    for name, cells in table.columns.items():
        _unmark(cells, name, table.words)
    return table


def _csv(path: Path, text: str, delimiter: str | None) -> Table:
    if "\n" in text:  # then a lone \r is part of a cell, as some writers leave it unquoted
        text = re.sub("\r(?!\n)", " ", text)
    first = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = delimiter or max(",;\t|", key=first.count)
    csv.field_size_limit(2**31 - 1)  # a cell may hold a long text
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    line: list[int] = []
    try:
        for cells in reader:
            if any(c.strip() for c in cells):
                rows.append(cells)
                line.append(reader.line_num)
    except csv.Error as fault:
        raise InputError(f"{path}, line {reader.line_num}: {fault}; check the quotes") from None
    if not rows:
        raise InputError(f"{path}: the file is empty")
    header = [name.strip() or f"column {i + 1}" for i, name in enumerate(rows[0])]
    _check_header(path, header)
    for cells, at in zip(rows[1:], line[1:], strict=True):
        if len(cells) != len(header):
            raise InputError(
                f"{path}, line {at}: holds {len(cells)} cells where the header names {len(header)} "
                f"(cells are split at {delimiter!r})"
            )
    words: dict[str, str] = {}
    columns = {name: [_cell(row[i], name, words) for row in rows[1:]] for i, name in enumerate(header)}
    write = _decimal_comma if delimiter == ";" else _ungrouped
    columns = {name: write(cells) for name, cells in columns.items()}
    return Table(str(path), columns, line[1:], words=words)


def _check_header(path: Path, header: list[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if all(number(name) is not None for name in header):
        raise InputError(f"{path}, line 1: holds only numbers; the first line must name the columns")
    if twice:
        raise InputError(f"{path}, line 1: the header names {some(twice)} more than once")


def _cell(value: Any, name: str, words: dict[str, str]) -> Cell:
    """What a cell holds; a word that stands for a missing value is noted under the name of its column."""
    if isinstance(value, str):
        value = value.strip()
        if value.casefold() not in MISSING:
            return value
        if value:
            words.setdefault(name, value)
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError


def _decimal_comma(cells: list[Cell]) -> list[Cell]:
    """Semicolon files often write 1,5 for one and a half, and 1.234,5 where there are thousands."""
    plain = _unitless(cells)
    present = [str(c) for c in plain if c is not None]
    if any("," in c for c in present) and all(COMMA.fullmatch(c) for c in present):
        return [None if c is None else str(c).replace(".", "").replace(",", ".") for c in plain]
    return plain if all(number(c) is not None for c in present) else cells


def _ungrouped(cells: list[Cell]) -> list[Cell]:
    """Where commas are no decimal ones, 1,234.5 is a number with its thousands set apart."""
    plain = [c.replace(",", "") if isinstance(c, str) and GROUPS.fullmatch(c) else c for c in _unitless(cells)]
    return plain if all(c is None or number(c) is not None for c in plain) else cells


def _unitless(cells: list[Cell]) -> list[Cell]:
    """Cells without the sign of a currency or of per cent, where all that are not missing bear the same one."""
    units = {found[0].strip(" +-") if (found := UNIT.search(str(c))) else "" for c in cells if c is not None}
    return [c if c is None else UNIT.sub(r"\1", str(c)) for c in cells] if len(units) == 1 and units != {""} else cells


def _unmark(cells: list[Cell], name: str, words: dict[str, str]) -> None:
    """In a column of numbers and marks such as ?, the marks say that a number is missing."""
    marks = [i for i, c in enumerate(cells) if c in MARKS]
    rest = [c for c in cells if c is not None and c not in MARKS]
    if marks and rest and all(number(c) is not None for c in rest):
        words.setdefault(name, str(cells[marks[0]]))
        for i in marks:
            cells[i] = None


def _jsonl(path: Path, text: str) -> Table:
    rows: list[dict[str, Cell]] = []
    line: list[int] = []
    words: dict[str, str] = {}
    for at, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            tree = json.loads(content)
        except json.JSONDecodeError as fault:
            raise InputError(f"{path}, line {at}: is not JSON ({fault.msg} at column {fault.colno})") from None
        if not isinstance(tree, dict):
            raise InputError(f"{path}, line {at}: expected an object {{...}}, got {content.strip()[:40]!r}")
        row: dict[str, Cell] = {}
        for key, value in tree.items():
            try:
                row[key] = _cell(value, key, words)
            except TypeError:
                raise InputError(
                    f"{path}, line {at}: {key!r} holds a {type(value).__name__}; cells are texts, numbers or null"
                ) from None
        rows.append(row)
        line.append(at)
    names = list(dict.fromkeys(key for row in rows for key in row))
    return Table(str(path), {name: [row.get(name) for row in rows] for name in names}, line, words=words)


def _parquet(path: Path) -> Table:
    parquet = require("pyarrow.parquet", "choose")
    read_bytes(path)  # says in our words when it is absent or empty
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as fault:
        raise InputError(f"{path}: is not a whole Parquet file ({reason(fault)})") from None
    columns: dict[str, list[Cell]] = {}
    words: dict[str, str] = {}
    for name in table.column_names:
        try:
            columns[name] = [_cell(v, name, words) for v in table.column(name).to_pylist()]
        except TypeError:
            kind = table.schema.field(name).type
            raise InputError(f"{path}: column {name!r} has type {kind}; columns hold texts, numbers or times") from None
    return Table(str(path), columns, list(range(1, table.num_rows + 1)), "row", words)


def number(cell: Cell) -> float | None:
    """The number in a cell, or None."""
    if isinstance(cell, int | float):
        return float(cell)
    try:
        return float(cell) if cell is not None else None
    except ValueError:
        return None


def numbers(table: Table, name: str) -> list[float | None] | None:
    """A column as numbers, or None when it holds something else; inf is an error."""
    found = _mostly(table, name, [number(c) for c in table.columns[name]], "numbers", "a number")
    for i, value in enumerate(found or ()):
        if value is not None and not math.isfinite(value):
            raise InputError(f"{table.file}, {table.at(i)}: column {name!r} holds {value}; numbers must be finite")
    return found


def when(cell: Cell) -> float | None:
    """Seconds since 1970 of a date or time, ISO or 31.12.2024 (UTC where no zone is written), or None."""
    if isinstance(cell, str):
        cell = DOTTED.sub(lambda m: f"{m[3]}-{int(m[2]):02d}-{int(m[1]):02d}", cell, count=1)
    if not isinstance(cell, str) or not cell[:4].isdigit() or len(cell) < 7 or cell[4] not in "-/":
        return None
    cell = cell.replace("/", "-")
    try:
        moment = datetime.fromisoformat(cell + "-01" if len(cell) == 7 else cell)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def times(table: Table, name: str) -> list[float | None] | None:
    """A column of ISO dates as seconds, or None when it holds anything else."""
    return _mostly(table, name, [when(c) for c in table.columns[name]], "dates", "an ISO date such as 2024-05-01")


def _mostly(table: Table, name: str, found: list[float | None], what: str, right: str) -> list[float | None] | None:
    """`found`, unless a fifth of the cells are something else; a rarer stray cell is an error that names it."""
    cells = table.columns[name]
    good = sum(f is not None for f in found)
    present = sum(c is not None for c in cells)
    stray = next((i for i, (c, f) in enumerate(zip(cells, found, strict=True)) if c is not None and f is None), None)
    if not good or (stray is not None and good <= 0.8 * present):
        return None
    if stray is not None:
        raise InputError(
            f"{table.file}, {table.at(stray)}: column {name!r} holds {cells[stray]!r} where {good:,} of {present:,} "
            f"cells are {what}; write {right} or leave the cell empty"
        )
    return found


def kinds(table: Table) -> dict[str, str]:
    """What each column holds: empty | number | time | text | category.

    A column of words is text when its cells are long (30 characters on average, with spaces in most of them).
    """
    found = {}
    for name, cells in table.columns.items():
        present = [str(c) for c in cells if c is not None]
        if not present:
            found[name] = "empty"
        elif numbers(table, name) is not None:
            found[name] = "number"
        elif times(table, name) is not None:
            found[name] = "time"
        else:
            spaced = sum(" " in c for c in present) > len(present) / 2
            long = sum(map(len, present)) >= 30 * len(present)
            found[name] = "text" if spaced and long else "category"
    return found
