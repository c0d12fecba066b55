"""Batches of one split: padded, bucketed by length, in an order that seed and epoch decide, resumable to the bit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError
from .base import Examples, Task

BUCKET = 32  # batches sorted together by length: padding stays small, the order stays random


class Batch(NamedTuple):
    """x: tokens (B, T) int64, values (B, T, C) float32 or images (B, C, H, W) float32, 0 where padded (right)."""

    x: Tensor
    lengths: Tensor | None  # (B,) int64; None when all are as long as x
    y: Tensor | None  # (B,) int64 or float32, (B, horizon, C) float32; None for language
    index: Tensor  # type: ignore[assignment]  # (B,) int64: numbers of the examples (language: of the windows)


class Batches:
    """An epoch per iteration. Each pass over the object yields what is left of the epoch, then moves to the next.

    With `shuffle` the order is drawn from (seed, epoch); without it examples come sorted by length. Language cuts
    the documents, joined in order, into windows of `tokens` ids; a window begins with the last id of the one
    before, so that predicting each next id inside the windows predicts every id of the stream but the first once.
    """

    def __init__(
        self, examples: Examples, task: Task, size: int, seed: int = 0, tokens: int | None = None, shuffle: bool = True
    ) -> None:
        if size < 1:
            raise InputError(f"batch size is {size}; it must be at least 1")
        if not len(examples):
            raise InputError("this split holds no examples")
        if (task.kind == "language") != (tokens is not None):
            raise InputError(
                "language needs tokens, the length of a window" if tokens is None else "tokens is for language only"
            )
        if tokens is not None and tokens < 2:
            raise InputError(f"tokens is {tokens}; a window needs at least 2: one to read, one to predict")
        self.targets = examples.targets
        self.inputs = examples.inputs if tokens is None else _windows(examples.inputs, tokens)
        self.images = task.reads == "image"
        self.size, self.seed, self.shuffle = size, seed, shuffle
        self.sizes = np.array([x.shape[-1] if self.images else len(x) for x in self.inputs])
        self.epoch = self.position = 0

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self.inputs) / self.size)

    def __iter__(self) -> Iterator[Batch]:
        order = self.order()
        while self.position < len(order):
            self.position += 1  # before handing out: a state taken while a batch is in use points behind it
            yield self.batch(order[self.position - 1])
        self.epoch, self.position = self.epoch + 1, 0

    def order(self) -> list[np.ndarray]:
        """The examples of each batch in this epoch."""
        count = len(self.inputs)
        if not self.shuffle:
            return _cut(np.argsort(self.sizes, kind="stable"), self.size)
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(count)
        if self.sizes.min() == self.sizes.max():
            return _cut(order, self.size)
        buckets = _cut(order, self.size * BUCKET)
        batches = [
            b for bucket in buckets for b in _cut(bucket[np.argsort(self.sizes[bucket], kind="stable")], self.size)
        ]
        return [batches[i] for i in rng.permutation(len(batches))]

    def batch(self, index: Sequence[int] | np.ndarray) -> Batch:
        """The batch of these examples."""
        picked = [self.inputs[int(i)] for i in index]
        lengths = torch.tensor([len(x) for x in picked])
        if self.images or (lengths == lengths[0]).all():
            x, told = torch.stack(picked), None
        else:
            x, told = torch.nn.utils.rnn.pad_sequence(picked, batch_first=True), lengths
        y = None if self.targets is None else torch.stack([self.targets[int(i)] for i in index])
        return Batch(x, told, y, torch.as_tensor(np.asarray(index), dtype=torch.int64))

    def state(self) -> dict[str, Any]:
        """Where the next batch comes from, as JSON."""
        return {"epoch": self.epoch, "position": self.position, **self._same()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where `state` was taken; it must come from the same data, size, seed and order."""
        for name, value in self._same().items():
            if state.get(name) != value:
                raise InputError(f"batch state was taken with {name}={state.get(name)!r}; here it is {value!r}")
        self.epoch, self.position = int(state["epoch"]), int(state["position"])

    def _same(self) -> dict[str, Any]:
        return {"size": self.size, "seed": self.seed, "shuffle": self.shuffle, "examples": len(self.inputs)}


def _cut(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[i : i + size] for i in range(0, len(order), size)]


def _windows(documents: Sequence[Tensor], tokens: int) -> list[Tensor]:
    """The joined documents in pieces of `tokens` ids that share one id with the piece before; the last is shorter."""
    stream = torch.cat(list(documents))
    if len(stream) < 2:
        raise InputError("this split holds a single token; there is nothing to predict")
    return [stream[i : i + tokens] for i in range(0, len(stream) - 1, tokens - 1)]
