"""results.sqlite: every finished unit of a run, once, on disk before the next begins.

A run is a list of units (a probe, a plan, a trial, a training run, a measurement). `once` gives back the stored
body of a unit or makes it, so that the code of a resumed run is the code of a new one. Several processes may write.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..core.errors import InputError, PanformerError, WriteError

FILE = "results.sqlite"
PATIENCE = 60.0  # seconds that a writer waits for the others
TABLE = """create table if not exists units (
    key text primary key, stage text not null, body text not null, seconds real not null, finished text not null)"""


class Store:
    """Units by key. Writes are synchronous: what `once` returned survives a crash of the machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._db.execute(TABLE)
        except sqlite3.DatabaseError as fault:
            raise InputError(f"{path}: cannot be used as a results store ({fault})") from None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def get(self, key: str) -> Any | None:
        """The body of a finished unit, or None."""
        row = self._db.execute("select body from units where key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def must(self, key: str) -> Any:
        """The body of a unit that every run begins with."""
        body = self.get(key)
        if body is None:
            raise InputError(f"{self.path}: holds no unit {key!r}; this is no run of panformer choose")
        return body

    def put(self, key: str, stage: str, body: Any, seconds: float = 0.0) -> Any:
        """Keep a unit; a second one of the same key is an error. Returns the body as it will be read back."""
        return json.loads(self._insert("insert", key, stage, body, seconds))

    def keep(self, key: str, stage: str, body: Any, seconds: float = 0.0) -> Any:
        """As `put`, for units that two processes may make alike: the first one stays, and is what is returned."""
        self._insert("insert or ignore", key, stage, body, seconds)
        return self.get(key)

    def once(self, key: str, stage: str, make: Callable[[], Any]) -> Any:
        """The stored body of this unit; where there is none, that of `make()`, stored first, unless another process was
        sooner."""
        body = self.get(key)
        if body is not None:
            return body
        began = time.perf_counter()
        made = make()
        return self.keep(key, stage, made, time.perf_counter() - began)

    def stage(self, stage: str) -> dict[str, Any]:
        """All units of a stage, in the order they were finished."""
        rows = self._db.execute("select key, body from units where stage = ? order by rowid", (stage,))
        return {key: json.loads(body) for key, body in rows}

    def seconds(self) -> dict[str, float]:
        """Time spent per stage, over all sittings."""
        rows = self._db.execute("select stage, sum(seconds) from units group by stage order by min(rowid)")
        return dict(rows.fetchall())

    def _insert(self, how: str, key: str, stage: str, body: Any, seconds: float) -> str:
        """The body as text, once it is stored."""
        text = json.dumps(body, allow_nan=False)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            self._db.execute(f"{how} into units values (?, ?, ?, ?, ?)", (key, stage, text, seconds, now))
        except sqlite3.OperationalError as fault:
            raise WriteError(f"{self.path}: could not write ({fault})") from None
        except sqlite3.Error as fault:
            raise PanformerError(f"{self.path}: could not store {key} ({fault})") from None
        return text
