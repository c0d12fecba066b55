"""What a person waits for beside models: a command to start, the atlas to be built, a finished trial to be kept."""

from __future__ import annotations

import itertools
import json
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..core.errors import InputError, PanformerError
from ..measure.store import FILE, Store
from .contest import OURS, Plan
from .race import Runner, Time, relay

ROWS = 100_000
MOST = {"atlas": 20.0, "page": 300.0, "papers": 0.5, "trial": 5.0}  # seconds, KB, seconds, milliseconds
PICTURES = re.compile(r"<svg.*?</svg>|data:image[^\"]*", re.S)
ADDED = 20  # trials of one timed call
BUSY = "beside another writer"  # of up to a hundred trials a second
LIST, FIRST = "papers", "papers, the first time"
FLUSH, ALONE = "flush alone", "-c pass"
OTHERS = {FLUSH: "disk", ALONE: "python"}  # what is no work of ours
BODY = {"measure": 0.97265625, "parameters": 29376, "seconds": 5.628, "spec_hash": "85066e648fc8",
        "curve": [[15 * i, round(4.2 / (1 + i), 5)] for i in range(20)]}  # fmt: skip
WRITER = """
import sys, time
from pathlib import Path
from panformer.measure.store import Store
with Store(Path(sys.argv[1])) as store:
    print("ready", flush=True)
    for i in range(10**9):
        store.keep(f"other/{i}", "trial", {"measure": 0.5, "curve": [[i, 0.5]] * 20})
        time.sleep(0.01)
"""


def pages(plan: Plan, rows: int = ROWS) -> dict[str, Any]:
    """What a person waits for beside models: commands in new processes, the atlas of all papers, and a trial to be kept."""
    if plan.device != "cpu":
        raise InputError("bench pages has nothing for a device; leave --device out")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plan.say("pages: commands")
        starts = relay(_commands(scratch), plan.rounds)
        plan.say("pages: the atlas")
        built = scratch / "atlas"
        drawn = relay({"atlas": _call(["-m", "panformer", "atlas", "--out", str(built)])}, plan.rounds)["atlas"]
        sizes = {path.relative_to(built): bare(path.read_text(encoding="utf-8")) for path in built.rglob("*.html")}
        largest = max(sizes, key=lambda name: sizes[name])
        plan.say(f"pages: trials, to stores of up to {rows} rows")
        kept = _trials(scratch, rows, plan.rounds)
    table = [
        *(_row("start a command", name, took, 1, "starts") for name, took in starts.items()),
        _row("build the atlas", f"{len(sizes)} pages", drawn, len(sizes), "pages"),
        *(_row("keep a trial", name, took, 1, "trials") for name, took in kept.items()),
    ]
    goals = [
        _most("build the atlas", "seconds", MOST["atlas"], drawn.median),
        _most("build the atlas", f"KB of the largest page before plots ({largest})", MOST["page"], sizes[largest] / 1000),
        *(_most("start a command", f"seconds of {name}", MOST["papers"], starts[name].median) for name in (LIST, FIRST)),
        *(_most("keep a trial", f"milliseconds {name}", MOST["trial"], 1e3 * took.median) for name, took in kept.items() if name != FLUSH),
    ]  # fmt: skip
    return {"suite": "pages", "what": pages.__doc__, "rows": table, "goals": goals, "missing": {},
            "size": {"rows": rows, "pages": len(sizes)}, "rounds": plan.rounds, "device": "cpu"}  # fmt: skip


def bare(text: str) -> int:
    """Bytes of a page without its pictures."""
    return len(PICTURES.sub("", text).encode())


def _commands(scratch: Path) -> dict[str, Runner]:
    """New processes; the uncounted round leaves what `papers` keeps."""
    (scratch / "file").touch()
    kept, nothing = ({"XDG_CACHE_HOME": str(scratch / name)} for name in ("cache", "file"))
    return {
        LIST: _call(["-m", "panformer", "papers"], kept),
        FIRST: _call(["-m", "panformer", "papers"], nothing),
        "--help": _call(["-m", "panformer", "--help"]),
        "import panformer": _call(["-c", "import panformer"]),
        ALONE: _call(["-c", "pass"]),
    }


def _call(args: Sequence[str], env: Mapping[str, str] | None = None) -> Runner:
    def run() -> float:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *args], env={**os.environ, **(env or {})}, capture_output=True, text=True
        )
        took = time.perf_counter() - began
        if done.returncode:
            raise PanformerError(f"bench pages: {' '.join(args)} failed: {done.stderr.strip()[-200:]}")
        return took

    return run


def _trials(scratch: Path, rows: int, rounds: int) -> dict[str, Time]:
    """Seconds until one more trial is on disk, the median of `ADDED` a round; and what the disk takes by itself."""
    full, empty = scratch / f"full-{FILE}", scratch / FILE
    with Store(empty), Store(full):
        fill(full, rows)
    found = {}
    for name, path, busy in (
        ("to an empty store", empty, False),
        (f"to {rows:,} rows", full, False),
        (f"to {rows:,} rows {BUSY}", full, True),
    ):
        with ExitStack() as stack:
            if busy:
                stack.enter_context(_another(path))
            store = stack.enter_context(Store(path))
            found[name] = relay({name: _adding(store, name)}, rounds)[name]
    with (scratch / "flushed").open("wb", buffering=0) as file:
        found[FLUSH] = relay({FLUSH: lambda: _median(partial(_flush, file))}, rounds)[FLUSH]
    return found


def fill(path: Path, rows: int) -> None:
    """So many finished trials at once, which kept one by one would take minutes."""
    lines = ((f"trial/{i:032x}", "trial", json.dumps(BODY), 5.6, "2026-01-01T00:00:00+00:00") for i in range(rows))
    with sqlite3.connect(path) as base:
        base.executemany("insert into units values (?, ?, ?, ?, ?)", lines)
    base.close()


def _adding(store: Store, name: str) -> Callable[[], float]:
    numbers = itertools.count()
    return lambda: _median(lambda: store.keep(f"{name}/{next(numbers)}", "trial", BODY, 5.6))


def _median(call: Callable[[], Any]) -> float:
    took = []
    for _ in range(ADDED):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def _flush(file: Any) -> None:
    file.write(bytes(8192))
    os.fsync(file.fileno())


@contextmanager
def _another(path: Path) -> Iterator[None]:
    """A process that keeps trials of its own in the same store without a pause."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            if writer.stdout.readline() != "ready\n":
                raise PanformerError("bench pages: the other writer did not start")
            yield
        finally:
            writer.kill()


def _row(task: str, form: str, took: Time, items: int, unit: str) -> dict[str, Any]:
    return {"task": task, "contestant": OTHERS.get(form, OURS), "form": form, "precision": "", "unit": f"{unit}/s",
            "rate": round(items / took.median, 2), "seconds": took}  # fmt: skip


def _most(task: str, what: str, wanted: float, reached: float) -> dict[str, Any]:
    reached = round(reached, 3)
    return {"task": task, "goal": f"{what}, at most", "wanted": wanted, "reached": reached, "met": reached <= wanted}
