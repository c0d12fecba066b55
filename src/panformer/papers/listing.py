"""Status and verdict of every paper, kept between calls: reading all entries takes longer than a listing may.

What is kept stands under the sizes and times of all files that decide it, as Python's own compiled files do, so that a
change of any of them makes it worthless. Where nothing can be kept, all is read each time.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import __version__
from .catalogue import HERE, Row, rows

ROOT = HERE.parent


def home() -> Path:
    """The file that keeps them."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "panformer" / "papers.json"


def listed() -> tuple[Row, ...]:
    """`catalogue.rows()`, whose states are known already where no file has changed."""
    found, stamp, path = rows(), _stamp(), home()
    kept = _kept(path, stamp)
    if kept is None:
        with _uncollected():
            states = {row.slug: row.state for row in found}
        _keep(path, stamp, states)
        return found
    for row in found:
        row.recall(*kept[row.slug])
    return found


@contextmanager
def _uncollected() -> Iterator[None]:
    """Trees are read whole and none of them ends in a circle: to look for garbage between them takes a tenth of the time."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def _kept(path: Path, stamp: str) -> dict[str, tuple[str, str | None, str]] | None:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return (
            {slug: (state[0], state[1], state[2]) for slug, state in told["states"].items()}
            if told["stamp"] == stamp
            else None
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _keep(path: Path, stamp: str, states: dict[str, tuple[str, str | None, str]]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps({"stamp": stamp, "states": states}), encoding="utf-8")
        draft.replace(path)
    except OSError:
        return


def _stamp() -> str:
    """Names the state of all files that an entry, its evidence, or the names in it come from."""
    lines = [__version__, str(ROOT), *(f"{name} {size} {time}" for name, size, time in sorted(_files(ROOT)))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _files(folder: Path | str) -> Iterator[tuple[str, int, int]]:
    """(path, bytes, nanoseconds of the last change) of every file of the package that is not compiled."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.name != "__pycache__":
                    yield from _files(entry.path)
            elif entry.name.endswith((".py", ".yaml", ".json", ".jsonl")):
                told = entry.stat()
                yield entry.path, told.st_size, told.st_mtime_ns
