"""`open_data(source)`: a built-in name or a file of any known format -> a Dataset; `records` for new input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from . import arrays, audio, images, text
from .assemble import assemble
from .base import Dataset
from .builtin import BUILTIN
from .folders import files_in, form_of, open_folder
from .prepare import Audio, Frames, Image, Preparation, Rows, Text, Window
from .raw import Notes, Options, some
from .rows import open_table
from .series import Series, carry, forecasting
from .tables import Table, is_table, kinds, read_table
from .timed import ROW, numbered, series_of


def open_data(
    source: str,
    *,
    target: str | None = None,
    task: str = "auto",
    seed: int = 0,
    horizon: int | None = None,
    lookback: int | None = None,
    season: int | None = None,
    max_rows: int | None = None,
    max_length: int = 2048,
    image_size: int | None = None,
    tokens: str = "auto",
) -> Dataset:
    """A built-in set, or CSV/TSV/JSONL/Parquet, .npy/.npz, a text file, or a folder of pictures, sound or text.

    target: a column (forecasting: several with commas; without it all numeric columns). max_rows: a seeded choice
    of rows, the last steps of a series, the first documents of a text. max_length: tokens or frames kept of each
    input. tokens: "bytes", "bpe", or "auto" by the length of the texts. Errors: InputError, EnvironmentGap.
    """
    opt = Options(target, task, seed, horizon, lookback, season, max_rows, max_length, image_size, tokens)
    if source in BUILTIN:
        return BUILTIN[source].open(source, opt)
    path = _existing(source, f", and no such built-in set; built in: {', '.join(sorted(BUILTIN))}")
    if path.is_dir():
        return open_folder(path, opt)
    if is_table(path):
        return open_table(path, opt)
    if path.suffix.lower() in arrays.SUFFIXES:
        return _open_arrays(path, opt)
    if path.suffix.lower() in text.SUFFIXES:
        if opt.task not in ("auto", "language"):
            raise InputError(f"{path}: a text file has no labels for {opt.task}; use a table, or a folder per class")
        return text.language(str(path), [(str(path), text.read_text(path))], opt, Notes())
    if form_of(path) is not None:
        raise InputError(f"{path}: one file is not a data set; give a folder with a subfolder per class")
    raise _unknown_format(path)


def _existing(source: str, more: str) -> Path:
    path = Path(source)
    if not source.strip() or not path.exists():
        raise InputError(f"{source or 'an empty name'}: no such file or folder{more}")
    return path


def _unknown_format(path: Path) -> InputError:
    hints = {
        ".xlsx": "; save the sheet as CSV",
        ".xls": "; save the sheet as CSV",
        ".json": "; write one object on a line, as .jsonl",
    }
    known = "csv, tsv, jsonl, parquet, npy, npz, txt and other plain text; folders of pictures, wav or flac"
    hint = hints.get(path.suffix.lower(), "")
    return InputError(f"{path}: files ending in {path.suffix or 'nothing'!r} are not read{hint}; known: {known}")


def _open_arrays(path: Path, opt: Options) -> Dataset:
    named = arrays.read_arrays(path)
    if "y" in named:
        opt.refuse(f"{path}: arrays (y is the target)", "target")
        return assemble(arrays.label_arrays(str(path), named), opt)
    values = _steps(path, named["x"])
    if opt.task not in ("auto", "forecasting"):
        raise InputError(f"{path}: holds no array named y, which {opt.task} needs")
    opt.refuse(f"{path}: an array without column names", "target")
    notes = Notes(
        why=[f"numbers of shape {named['x'].shape} without y -> one series of {values.shape[1]} channels, forecasting"]
    )
    series = Series(str(path), values, [str(i) for i in range(len(values))])
    return forecasting(str(path), [series], tuple(f"x{j}" for j in range(values.shape[1])), opt, notes)


def _steps(path: Path, x: np.ndarray) -> np.ndarray:
    """(T,) or (T, C) -> (T, C) float64."""
    if x.ndim not in (1, 2):
        raise InputError(f"{path}: x has shape {x.shape} and there is no y; a series has shape (T,) or (T, C)")
    return x.reshape(len(x), -1).astype(np.float64)


# ---- new input for a trained model --------------------------------------------------------------------------


def records(source: str, prepare: Preparation) -> Iterator[tuple[str, Any]]:
    """(where it came from, record) for everything in `source`; `prepare.encode(record)` is the model input.

    Reads the formats of training, without a target; columns the model does not know are ignored.
    """
    path = _existing(source, "")
    given = prepare.input
    if isinstance(given, Window):
        yield from _recent(path, given)
    elif is_table(path) and isinstance(given, Rows | Text):
        yield from _rows(read_table(path), given)
    elif path.suffix.lower() in arrays.SUFFIXES and isinstance(given, Rows | Image | Frames):
        found = arrays.array_records(str(path), arrays.read_arrays(path), Notes(), given.kind)
        yield from ((f"{path}:{i}", record) for i, record in enumerate(found[1]))
    elif isinstance(given, Text) and len(given.columns) <= 1:
        yield from ((str(p), text.read_text(p)) for p in _files(path, text.SUFFIXES))
    elif isinstance(given, Image):
        yield from ((str(p), images.read_image(p)) for p in _files(path, images.SUFFIXES))
    elif isinstance(given, Audio):
        yield from ((str(p), audio.read_audio(p)) for p in _files(path, audio.SUFFIXES))
    else:
        raise InputError(f"{path}: the model reads {given.kind}, which this file does not hold")


def _files(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    found = [p for p in ([path] if path.is_file() else files_in(path)) if p.suffix.lower() in suffixes]
    if not found:
        raise InputError(f"{path}: holds no file that the model reads ({', '.join(suffixes)})")
    return found


def _rows(table: Table, given: Rows | Text) -> Iterator[tuple[str, Any]]:
    names = [c.name for c in given.columns] if isinstance(given, Rows) else list(given.columns)
    absent = [n for n in names if n not in table.columns]
    if absent:
        raise InputError(
            f"{table.file}: lacks column {some(absent)}, which the model reads; found {some(list(table.columns))}"
        )
    for i, line in enumerate(table.line):
        yield f"{table.file}:{line}", {n: table.columns[n][i] for n in names}


def _recent(path: Path, given: Window) -> Iterator[tuple[str, Any]]:
    """Each series of the file, gaps carried forward; it must reach over the lookback."""
    for series in _series(path, given):
        values = carry(series.values)[-given.lookback :]
        if len(values) < given.lookback:
            raise InputError(f"{series.name}: holds {len(values)} steps; the model looks back over {given.lookback}")
        if np.isnan(values).any():
            t, c = np.argwhere(np.isnan(values))[0]
            raise InputError(
                f"{series.name}: channel {given.channels[c]!r} has no value before {series.when[-given.lookback :][t]}"
            )
        yield series.name, values


def _series(path: Path, given: Window) -> list[Series]:
    if path.suffix.lower() in arrays.SUFFIXES:
        values = _steps(path, arrays.read_arrays(path)["x"])
        if values.shape[1] != len(given.channels):
            raise InputError(f"{path}: holds {values.shape[1]} channels; the model reads {len(given.channels)}")
        return [Series(str(path), values, [str(i) for i in range(len(values))])]
    if not is_table(path):
        raise _unknown_format(path)
    table = read_table(path)
    if given.time == ROW and ROW not in table.columns:
        table = numbered(table)
    names = [given.value] if given.pivot else list(given.channels)
    needed = [n for n in (given.time, given.id, *names) if n]
    absent = [n for n in needed if n not in table.columns]
    if absent:
        raise InputError(
            f"{path}: lacks column {some(absent)}, which the model reads; found {some(list(table.columns))}"
        )
    table = Table(table.file, {n: table.columns[n] for n in needed}, table.line, table.unit)
    found = kinds(table)
    series, channels, _, _ = series_of(table, found, given.time, names, Notes(), given.id)
    if not given.pivot:
        return series
    if len(series) > 1 or not set(given.channels) <= set(channels):
        raise InputError(
            f"{path}: holds series {some(channels)}; the model reads {some(given.channels)} at common times"
        )
    pick = [channels.index(c) for c in given.channels]
    return [Series(series[0].name, series[0].values[:, pick], series[0].when)]
