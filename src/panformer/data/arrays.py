"""NumPy files: labelled tables, pictures and sequences (.npz with x and y), or one series (.npy, or .npz with x)."""

from __future__ import annotations

import io
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from .raw import Form, Notes, Raw, read_bytes, reason, some

SUFFIXES = (".npy", ".npz")
DAMAGE = (  # what NumPy raises on files that are cut short or overwritten
    ValueError, OSError, EOFError, SyntaxError, KeyError, MemoryError, NotImplementedError, RuntimeError,
    zipfile.BadZipFile, zlib.error, tokenize.TokenError,
)  # fmt: skip
NAMES = {"x": ("x", "data", "inputs", "images", "features"), "y": ("y", "labels", "label", "targets", "target")}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """{"x": ..., "y": ..., "lengths": ...}, those that the file holds, all finite numbers (y also texts)."""
    data = read_bytes(path)
    if not data.startswith(b"\x93NUMPY" if path.suffix.lower() == ".npy" else b"PK"):
        raise InputError(f"{path}: is not a NumPy file, whatever its ending")
    try:
        file = np.load(io.BytesIO(data), allow_pickle=False)
        found = {"x": file} if isinstance(file, np.ndarray) else {name: file[name] for name in file.files}
    except DAMAGE as fault:
        if "pickle" in str(fault):
            raise InputError(f"{path}: holds Python objects; save plain numbers or texts") from None
        raise InputError(f"{path}: is not a whole NumPy file ({reason(fault)})") from None
    named = {}
    for role, names in {**NAMES, "lengths": ("lengths",)}.items():
        match = [k for k in found if k.lower() in names]
        if len(match) > 1:
            raise InputError(f"{path}: {some(match)} could all be {role}; keep one")
        if match:
            named[role] = found[match[0]]
    if "x" not in named:
        raise InputError(f"{path}: holds no array named x (found {some(list(found))})")
    _check(path, named)
    return named


def _check(path: Path, named: dict[str, np.ndarray]) -> None:
    for role, array in named.items():
        if array.dtype.kind not in ("biuf" if role != "y" else "biufU"):
            raise InputError(
                f"{path}: {role} has type {array.dtype}; expected numbers" + (" or texts" if role == "y" else "")
            )
        if not array.size:
            raise InputError(f"{path}: {role} is empty (shape {array.shape})")
        bad = np.argwhere(~np.isfinite(array)) if array.dtype.kind == "f" else np.empty((0, array.ndim))
        if len(bad) and not (role == "x" and "y" not in named):  # a series may have gaps; its reader names them
            at = ", ".join(map(str, bad[0]))
            raise InputError(
                f"{path}: {role}[{at}] is {array[tuple(bad[0].tolist())]}; numbers must be finite ({len(bad):,} not)"
            )
    rows = len(named["lengths"] if "lengths" in named else named["x"])
    if "y" in named and (named["y"].ndim != 1 or len(named["y"]) != rows):
        raise InputError(f"{path}: y has shape {named['y'].shape} where x has {rows:,} rows; expected ({rows},)")


def label_arrays(name: str, named: dict[str, np.ndarray]) -> Raw:
    """x with y -> records, read by shape: (N, C) table; (N, T, C) sequences, or pictures if uint8; (N, H, W, C).

    With `lengths` x (sum of lengths, C) holds sequences one after the other. Channels may also come first.
    """
    notes = Notes()
    form, records = array_records(name, named, notes)
    labels: list[Any] = named["y"].tolist()
    if named["y"].dtype.kind == "b":
        labels = [str(v) for v in labels]
    columns = dict.fromkeys(records[0], "number") if form == "rows" else {}
    return Raw(name, form, records, labels, [f"{name}:{i}" for i in range(len(records))], "y", columns, notes)


def array_records(
    name: str, named: dict[str, np.ndarray], notes: Notes, wish: Form | None = None
) -> tuple[Form, list[Any]]:
    """(form, records) by the shape of x; `wish` is the form a model reads, when there is one."""
    x, lengths = named["x"], named.get("lengths")
    form, records = _by_shape(name, x, lengths, notes, wish)
    if wish not in (None, form):
        raise InputError(f"{name}: x of shape {x.shape} holds {form}; the model reads {wish}")
    return form, records


def _by_shape(
    name: str, x: np.ndarray, lengths: np.ndarray | None, notes: Notes, wish: Form | None
) -> tuple[Form, list[Any]]:
    told = f"x has shape {x.shape} and type {x.dtype}"
    if lengths is not None:
        if x.ndim != 2 or lengths.ndim != 1 or lengths.min() < 1 or lengths.sum() != len(x):
            raise InputError(
                f"{name}: lengths (sum {lengths.sum():,}) must be positive and add up to the rows of x {x.shape}"
            )
        notes.why.append(f"{told}, with lengths -> sequences of frames")
        return "frames", [a.astype(np.float32) for a in np.split(x, np.cumsum(lengths)[:-1])]
    if x.ndim == 2:
        notes.why.append(f"{told} -> a table of {x.shape[1]} numeric columns")
        return "rows", [{f"x{j}": float(v) for j, v in enumerate(row)} for row in x]
    if x.ndim == 4 or (x.ndim == 3 and (wish == "image" or (wish is None and x.dtype == np.uint8))):
        if x.ndim == 4 and x.shape[-1] not in (1, 2, 3, 4) and x.shape[1] in (1, 2, 3, 4):
            x = x.transpose(0, 2, 3, 1)
        notes.why.append(f"{told} -> pictures")
        return "image", list(_bytes(x))
    if x.ndim == 3:
        notes.why.append(f"{told} -> sequences (rows, steps, channels)")
        return "frames", list(x.astype(np.float32))
    raise InputError(f"{name}: {told}; expected (N, C) table, (N, T, C) sequences or (N, H, W[, C]) pictures")


def _bytes(x: np.ndarray) -> np.ndarray:
    """Whole numbers 0..255 as uint8, the brightness that picture files hold; floats stay in their own units."""
    return x.astype(np.uint8) if x.dtype.kind in "biu" and x.min() >= 0 and x.max() <= 255 else x.astype(np.float32)
