"""What an encoder-decoder reads: the decoder's tokens and a source, each in a layout of its own.

Sequence n of the one belongs to sequence n of the other, counted over the whole batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .errors import InputError
from .layout import Batch, Layout


class Pair(NamedTuple):
    """What an objective answers with that makes a source of its input: span corruption."""

    x: Batch
    source: Batch


def moved(batch: Batch, device: torch.device) -> Batch:
    return Batch(batch.x.to(device), None if batch.at is None else batch.at.to(device))


def select(batch: Batch, rows: Tensor) -> Batch:
    """The given rows, in the given order."""
    rows = rows.to(batch.x.device)
    return Batch(batch.x[rows], None if batch.at is None else batch.at.select(rows))


def facing(memory: Tensor, at: Layout, rows: int) -> tuple[Tensor, Layout]:
    """Memory (B, S, D) as it must lie for tokens in so many `rows`: as it is, a row per sequence, or all in one row.

    Errors: InputError where the sources are neither as many as the rows, nor packed as the tokens are.
    """
    if at.batch == rows:
        return memory, at
    if at.sequences == rows:
        return at.to_rows(memory), at.as_rows()
    if rows == 1:
        return memory[at.valid][None], Layout(at.ordinal[at.valid][None], at.pos[at.valid][None], padless=True)
    raise InputError(f"{at.sequences} sources for {rows} rows of tokens")
