"""`panformer eval`: a saved model measured on labelled data, with the preparation it was trained with.

The data it was trained on is recognised by its content: then the test split of that run is measured. Any other
data is read whole.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError
from ..data import arrays
from ..data.base import Dataset, Examples
from ..data.builtin import BUILTIN
from ..data.open import records
from ..data.prepare import Classes, Text, Value, Window
from ..data.tables import is_table, number, read_table
from ..measure.quality import quality
from . import trial
from .saved import Saved, read

WISHES = ("target", "task", "seed", "horizon", "lookback", "season")


def evaluate(folder: str, source: str, target: str | None) -> dict[str, Any]:
    """{"split", "rows", "measure", "value", "further"} of a model on data."""
    saved = read(folder)
    data, split = dataset(saved, source, target)
    found = quality(saved.model, data, "test", trial.rows_at_once(data))
    return {
        "data": source, "split": split, "rows": len(data.test), "measure": saved.task.measure, "value": found.measure,
        "further": found.further,
    }  # fmt: skip


def dataset(saved: Saved, source: str, target: str | None) -> tuple[Dataset, str]:
    """The rows to measure, as the test split of a data set, and which rows they are."""
    wishes = {n: saved.source.get(n) for n in WISHES} | ({"target": target} if target else {})
    wishes |= {"seed": wishes["seed"] or 0, "task": wishes["task"] or "auto"}
    if source == saved.source.get("data") or source in BUILTIN:
        data = trial.opened(source, wishes)
        if data.hash == saved.source.get("hash"):
            return replace(data, task=saved.task, facts=saved.facts), "test split of the training run"
    given, task = saved.prepare.input, saved.task
    if isinstance(given, Window):
        sizes = {"task": "forecasting", "lookback": given.lookback, "horizon": task.horizon, "season": task.season}
        return _windows(saved, trial.opened(source, wishes | sizes)), "every window"
    if source in BUILTIN:
        raise InputError(f"{source}: is not the data this model was trained on ({saved.source.get('name')})")
    examples = _examples(saved, source, target or saved.source.get("target"))
    facts = dict(saved.facts)
    if isinstance(given, Text) and task.kind == "language":
        total = sum(len(given.text(x.tolist()).encode("utf-8", "replace")) for x in examples.inputs)
        facts["bytes_per_token"] = {"test": total / sum(len(x) for x in examples.inputs)}
    empty = Examples([], None, [])
    return Dataset(source, task, empty, empty, examples, saved.prepare, facts), "all rows"


def rows_for(folder: str | Path, source: str, target: str | None, count: int) -> list[Tensor]:
    """Up to `count` validation rows of the data that the model was trained on; rows of other data from its start."""
    given, _ = dataset(read(folder), source, target)
    rows = given.valid.inputs if len(given.valid) else given.test.inputs
    return [rows[i] for i in range(min(count, len(rows)))]


def _windows(saved: Saved, data: Dataset) -> Dataset:
    """Every window of another series of the same channels, in the scale that the model was trained with."""
    given, other = saved.prepare.input, getattr(data.prepare, "input", None)
    assert isinstance(given, Window) and isinstance(other, Window)
    if other.channels != given.channels:
        found = f"holds channels {', '.join(other.channels)}"
        raise InputError(f"{data.name}: {found}; the model reads {', '.join(given.channels)}")

    def rescale(x: Tensor) -> Tensor:
        units = x.double() * torch.tensor(other.std) + torch.tensor(other.mean)
        return ((units - torch.tensor(given.mean)) / torch.tensor(given.std)).float()

    parts = (data.train, data.valid, data.test)
    inputs = [rescale(x) for part in parts for x in part.inputs]
    targets = [rescale(y) for part in parts for y in part.targets or ()]
    examples = Examples(inputs, targets, [s for part in parts for s in part.source])
    return replace(data, task=saved.task, test=examples, facts=saved.facts)


def _examples(saved: Saved, source: str, target: str | None) -> Examples:
    """Labelled records of a file or folder, prepared as in training; rows without a known label are an error."""
    found = [(where, saved.prepare.encode(record)) for where, record in records(source, saved.prepare)]
    inputs, names = [x for _, x in found], [where for where, _ in found]
    if saved.task.kind == "language":
        return Examples(inputs, None, names)
    labels = _labels(source, names, target)
    targets = [_target(saved, where, label) for where, label in zip(names, labels, strict=True)]
    return Examples(inputs, targets, names)


def _labels(source: str, names: list[str], target: str | None) -> list[Any]:
    path = Path(source)
    if path.is_dir():
        return [Path(name).relative_to(path).parts[0] for name in names]
    if path.suffix in arrays.SUFFIXES:
        named = arrays.read_arrays(path)
        if "y" not in named:
            raise InputError(f"{path}: holds no array named y to compare answers with")
        return np.asarray(named["y"]).tolist()
    if not is_table(path):
        raise InputError(f"{path}: has no labels to compare answers with")
    table = read_table(path)
    if target is None or target not in table.columns:
        raise InputError(f"{path}: has no column {target!r} to compare answers with; name one with --target")
    return list(table.columns[target])


def _target(saved: Saved, where: str, label: Any) -> Tensor:
    output = saved.prepare.output
    if isinstance(output, Value):
        value = number(label) if label is not None else None
        if value is None:
            raise InputError(f"{where}: the label {label!r} is not a number")
        return output.target(value)
    assert isinstance(output, Classes)
    said = number(label) if isinstance(label, str) else label
    name = str(int(said)) if isinstance(said, int | float) and float(said).is_integer() else str(label)
    known = next((n for n in (name, str(label)) if n in output.labels), None)
    if known is None:
        raise InputError(
            f"{where}: the label {label!r} is none of the model's classes ({', '.join(output.labels[:8])})"
        )
    return output.target(known)
