"""What every data set looks like once it is read: a task, three splits and the fitted preparation.

A built-in set and a person's own file end in the same `Dataset`; search, training, prediction and
the report know nothing else about data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import Tensor

Kind = Literal["classification", "regression", "forecasting", "language"]
Reads = Literal["tokens", "values", "image"]


@dataclass(frozen=True)
class Task:
    """What goes in, what comes out, and how an answer is scored."""

    kind: Kind
    reads: Reads
    measure: str  # accuracy | rmse | mase | bits_per_byte: reported; the last three are better when lower
    classes: tuple[str, ...] = ()  # classification: label names, by index
    vocab: int = 0  # tokens: ids are 0 .. vocab-1
    channels: int = 0  # values: C of (T, C); image: C of (C, H, W)
    grid: tuple[int, ...] = ()  # image: (H, W)
    columns: tuple[str, ...] = ()  # table: column names, one token each; series: channel names
    horizon: int = 0  # forecasting: steps ahead
    season: int = 1  # forecasting: the period of the naive forecast
    max_length: int = 0  # longest input in tokens or frames

    @property
    def lower_is_better(self) -> bool:
        return self.measure != "accuracy"


@dataclass
class Examples:
    """One split. inputs[i]: tokens (T,) int64, values (T, C) float32 or image (C, H, W) float32.

    targets[i]: class index () int64; regression () float32; forecasting (horizon, C) float32;
    language: absent (None), the target is the input itself. source[i] names where it came from.
    """

    inputs: Sequence[Tensor]
    targets: Sequence[Tensor] | None
    source: Sequence[str]

    def __len__(self) -> int:
        return len(self.inputs)


class Prepare(Protocol):
    """The fitted preparation that travels with a model: JSON in, JSON out, no code."""

    def encode(self, record: Any) -> Tensor:
        """One raw record (text, row, file path, array) -> model input, as in training."""

    def decode(self, output: Tensor) -> Any:
        """One model output -> an answer in the person's own terms (label, value in units, forecast)."""

    def dump(self) -> dict[str, Any]: ...


@dataclass
class Dataset:
    name: str
    task: Task
    train: Examples
    valid: Examples
    test: Examples
    prepare: Prepare
    facts: dict[str, Any] = field(default_factory=dict)  # rows, lengths, classes, missing values: for the report
    refused: list[str] = field(default_factory=list)  # rows left out, each with its reason
    hash: str = ""  # of the raw content and the split seed
