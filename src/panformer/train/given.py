"""A batch as its objective hands it to a model: one way for training and for every test.

A batch may bring a `source` (a `core.layout.Batch`), which an encoder reads and which objectives let pass. An
objective that makes a source of the text itself, as span corruption does, answers with a `Pair`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Objective
from ..core.layout import Batch, Layout
from ..core.pair import Pair, moved, select


class Given(NamedTuple):
    """The arguments of a model's call."""

    x: Tensor | Batch
    lengths: Sequence[int] | Tensor | None
    source: Batch | None


def given(objective: Objective, batch: Any, rng: torch.Generator, device: torch.device) -> tuple[Given, Any]:
    """(what the model reads, what it must answer) of a batch with x, lengths, y and perhaps a source."""
    x, y = batch.x.to(device), None if batch.y is None else batch.y.to(device)
    if batch.lengths is None:
        at = Layout.dense(x.shape[0], x.shape[1], device=device)
    else:
        at = Layout.padded(batch.lengths, x.shape[1]).to(device)
    source: Batch | None = getattr(batch, "source", None)
    shown, target = objective.corrupt(x if y is None else (x, y), at, rng)
    if isinstance(shown, Pair):
        if source is not None:
            raise InputError(f"objective {objective.use()} makes a source of every text; the batch brings one too")
        return Given(moved(shown.x, device), None, moved(shown.source, device)), target
    return Given(shown, batch.lengths, None if source is None else moved(source, device)), target


def repeated(one: Given, passes: int) -> Given:
    """The rows, their lengths and their sources, one pass after the other."""
    if passes == 1:
        return one
    x, lengths, source = one
    again = x.repeat(passes, *[1] * (x.dim() - 1)) if isinstance(x, Tensor) else _again(x, passes)
    lengths = None if lengths is None else torch.as_tensor(lengths).repeat(passes)
    return Given(again, lengths, None if source is None else _again(source, passes))


def cut(batch: Any, pieces: int) -> list[Any]:
    """A batch in up to `pieces` parts along its rows; a source is cut where the rows are."""
    if pieces == 1:
        return [batch]
    source = getattr(batch, "source", None)
    if source is not None and len(source.x) != len(batch.x):
        raise InputError(
            f"micro: {len(source.x)} packed rows of sources cannot be cut as {len(batch.x)} rows of tokens"
        )
    return [
        type(batch)(*(None if f is None else _rows(f, rows) for f in batch))
        for rows in torch.arange(len(batch.x)).chunk(pieces)
        if len(rows)
    ]


def _rows(field: Any, rows: Tensor) -> Any:
    return select(field, rows) if isinstance(field, Batch) else field[int(rows[0]) : int(rows[-1]) + 1]


def _again(batch: Batch, passes: int) -> Batch:
    return select(batch, torch.arange(len(batch.x)).repeat(passes))
