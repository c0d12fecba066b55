"""A chosen model in its folder: weights or a baseline's numbers, with the preparation and the task they answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from ..core.errors import InputError
from ..data.base import Dataset, Task
from ..data.prepare import Preparation, load_prepare
from ..measure.quality import Answers
from ..model import io
from ..model.model import Model

FILE = "preparation.json"
FACTS = ("target_std", "naive_mae", "bytes_per_token")  # what a measure in units needs


class Saved(NamedTuple):
    model: Answers
    prepare: Preparation
    task: Task
    facts: dict[str, Any]
    source: dict[str, Any]  # name and hash of the training data, and how it was opened


def travels(data: Dataset, opened: Mapping[str, Any]) -> dict[str, bytes]:
    """The file that lets a model folder read new records and be measured: JSON, no code."""
    tree = {
        "format": io.FORMAT, "prepare": data.prepare.dump(), "task": asdict(data.task),
        "facts": {n: data.facts[n] for n in FACTS if n in data.facts},
        "source": {"name": data.name, "hash": data.hash, **opened},
    }  # fmt: skip
    return {FILE: (json.dumps(tree, indent=1) + "\n").encode()}


def write(folder: Path, model: Any, data: Dataset, opened: Mapping[str, Any], card: str = "") -> int:
    """Write a model or a baseline; returns the bytes of what answering needs (the card left out)."""
    extra: dict[str, bytes] = travels(data, opened)
    notes = {"README.md": card.encode()} if card else {}
    if isinstance(model, Model):
        io.save(model, folder, {**extra, **notes})
    else:
        io.publish(folder, {**model.files(), **extra, **notes})
    return sum(p.stat().st_size for p in folder.iterdir() if p.name not in ("README.md", "manifest.json"))


def read(folder: str | Path) -> Saved:
    """Open a model folder, after checking every file. Errors: CheckpointError, InputError."""
    folder = Path(folder)
    io.verify(folder)
    if not (folder / FILE).is_file():
        raise InputError(f"{folder}: has no {FILE}; only models that choose or train wrote can read new data")
    tree = io.read_json(folder / FILE)
    absent = [n for n in ("prepare", "task", "facts", "source") if n not in tree]
    if absent or tree.get("format") != io.FORMAT:
        raise InputError(
            f"{folder}/{FILE}: not a preparation of this version (lacks {', '.join(absent) or 'its format'})"
        )
    prepare = load_prepare(tree["prepare"])
    try:
        task = TypeAdapter(Task).validate_python(tree["task"])
    except ValidationError as fault:
        raise InputError(f"{folder}/{FILE}: task: {fault.errors()[0]['msg'].lower()}") from None
    return Saved(_answers(folder), prepare, task, tree["facts"], tree["source"])


def _answers(folder: Path) -> Answers:
    if "baseline" not in io.read_json(folder / "config.json"):
        return io.load(folder)
    from . import plain  # needs the packages of baselines, which a model does not

    return plain.load(folder)
