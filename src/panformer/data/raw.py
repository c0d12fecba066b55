"""What a reader hands on: records in the person's own terms, before anything is fitted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..core.errors import InputError, unknown

Form = Literal["text", "rows", "image", "frames", "audio"]
TASKS = ("auto", "classification", "regression", "forecasting", "language")


@dataclass(frozen=True)
class Options:
    """The person's wishes; None and "auto" mean: look at the data and say why."""

    target: str | None = None
    task: str = "auto"
    seed: int = 0
    horizon: int | None = None
    lookback: int | None = None
    season: int | None = None
    max_rows: int | None = None
    max_length: int = 2048
    image_size: int | None = None
    tokens: str = "auto"

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise unknown("task", self.task, TASKS)
        if self.tokens not in ("auto", "bytes", "bpe"):
            raise unknown("tokens", self.tokens, ("auto", "bytes", "bpe"))
        least = {"horizon": 1, "lookback": 1, "season": 1, "max_rows": 3, "max_length": 2, "image_size": 1, "seed": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise InputError(f"{name} is {value}; it must be at least {low}")

    def refuse(self, what: str, *names: str) -> None:
        """Say that a wish has no meaning for this data, instead of ignoring it."""
        for name in names:
            if getattr(self, name) not in (None, "auto"):
                raise InputError(f"{name}={getattr(self, name)!r} has no meaning for {what}; leave it out")


@dataclass
class Notes:
    """What a reader has to say about the data; ends in `Dataset.facts` and `Dataset.refused`."""

    why: list[str] = field(default_factory=list)  # each decision with its reason
    warnings: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # what was left out, each with its reason
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Raw:
    """Labelled records. records[i]: text -> str (or a row to be written as text), rows -> {column: cell},
    image -> (H, W) or (H, W, C) uint8 or float in [0, 1], frames -> (T, C), audio -> (samples (T,), rate).
    """

    name: str
    form: Form
    records: list[Any]
    labels: list[Any]  # str, float or None (missing)
    source: list[str]
    target: str  # how a message names the label: "column 'species'", "folder name", "y"
    columns: dict[str, str] = field(default_factory=dict)  # rows and mixed text: column -> kind
    notes: Notes = field(default_factory=Notes)
    classed: bool = False  # labels are names of classes, also where they look like numbers
    held: list[bool] = field(default_factory=list)  # which records the source keeps for the test; none: it says nothing

    def keep(self, index: Sequence[int]) -> None:
        """Leave out every record that is not in `index`."""
        self.records = [self.records[i] for i in index]
        self.labels = [self.labels[i] for i in index]
        self.source = [self.source[i] for i in index]
        self.held = [self.held[i] for i in index] if self.held else []


def content(record: Any) -> str:
    """A hash of what a record holds, whatever it is called."""
    if isinstance(record, str):
        data = record.encode("utf-8", "surrogatepass")
    elif isinstance(record, np.ndarray):
        data = f"{record.shape}{record.dtype}".encode() + np.ascontiguousarray(record).tobytes()
    elif isinstance(record, tuple):  # audio: samples and rate
        data = record[0].tobytes() + str(record[1]).encode()
    else:
        data = json.dumps(record, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def fingerprint(parts: Sequence[str], opt: Options) -> str:
    """Twelve hex digits of the content, in order, and of the wishes that change the split."""
    told = [opt.seed, opt.target, opt.task, opt.horizon, opt.lookback, opt.season, opt.max_rows]
    return hashlib.sha256(json.dumps([told, *parts]).encode()).hexdigest()[:12]


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; an empty or unreadable file is an input error."""
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise InputError(f"{path}: cannot be read ({fault.strerror or fault})") from None
    if not data.strip():
        raise InputError(f"{path}: the file is empty")
    return data


def decode(data: bytes, path: Path) -> str:
    """UTF-8 text, with or without a byte order mark; a byte that is not UTF-8 is named with its line."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{path}: looks like UTF-16 (it starts with {data[:2].hex(' ')}); save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raise InputError(
            f"{path}, line {line}: byte {fault.start} (0x{data[fault.start]:02x}) is not UTF-8; save it as UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path}, line {line}: holds a zero byte, so it is not a text file")
    return text


def reason(fault: BaseException) -> str:
    """The first line of what another library says."""
    return (str(fault) or type(fault).__name__).splitlines()[0]


def counted(n: int, noun: str) -> str:
    """1 column, 2 columns."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def some(names: Sequence[Any], most: int = 8) -> str:
    """The first few of many names, quoted, for a message."""
    head = ", ".join(repr(n) for n in names[:most])
    return head + (f" and {len(names) - most:,} more" if len(names) > most else "")
