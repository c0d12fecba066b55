"""The fitted preparation: one input (record -> tensor) with one output (target <-> tensor), as plain JSON.

Every class here is frozen numbers and names fitted on the training split; nothing looks at the data again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from ..core.errors import InputError, require
from ..core.part import parse
from .audio import log_mel, resample
from .images import pixels, resize
from .raw import some
from .tables import MARKS, number, when

END, MASK, BYTES = 256, 257, 258  # byte vocabulary: 0..255, end of document, a mask that encode never writes


class Fitted(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# ---- inputs -------------------------------------------------------------------------------------------------


class Text(Fitted):
    """text -> (T,) int64: its UTF-8 bytes, or tokens of a trained BPE, then END; cut to `max_length` tokens.

    A record may be a row: of one column, its cell; of several, lines "name: cell" (missing cells are skipped).
    A BPE vocabulary of n tokens has END = n and MASK = n + 1.
    Source: Sennrich et al. 2016 (BPE); Xue et al. 2022, ByT5 (bytes).
    """

    kind: Literal["text"] = "text"
    columns: tuple[str, ...] = ()
    max_length: int = 0  # 0: whole documents
    bpe: str = ""  # the tokenizer as JSON; empty: bytes

    @property
    def vocab(self) -> int:
        return self.tokenizer.get_vocab_size() + 2 if self.bpe else BYTES

    @cached_property
    def tokenizer(self) -> Any:
        return require("tokenizers", "choose").Tokenizer.from_str(self.bpe)

    def write(self, record: Any) -> str:
        if isinstance(record, str):
            return record
        _need(self.columns, record)
        if len(self.columns) == 1:
            return str(record[self.columns[0]] or "")
        return "\n".join(f"{name}: {record[name]}" for name in self.columns if record[name] is not None)

    def encode(self, record: Any) -> Tensor:
        text = self.write(record)
        if self.bpe:
            ids = np.array(self.tokenizer.encode(text).ids, np.int64)
        else:
            ids = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64)
        if self.max_length:
            ids = ids[: self.max_length - 1]
        return torch.from_numpy(np.append(ids, self.vocab - 2))

    def text(self, ids: list[int]) -> str:
        """The text of token ids; END is written as an empty line, MASK as U+FFFD."""
        end = self.vocab - 2
        parts: list[list[int]] = [[]]
        for i in ids:
            if i == end:
                parts.append([])
            elif 0 <= i < end:
                parts[-1].append(i)
        if self.bpe:
            return "\n\n".join(self.tokenizer.decode(p) for p in parts).rstrip("\n")
        return "\n\n".join(bytes(p).decode("utf-8", "replace") for p in parts).rstrip("\n")


def _need(names: Sequence[str], record: Mapping[str, Any]) -> None:
    absent = [name for name in names if name not in record]
    if absent:
        raise InputError(f"columns {some(absent)} are absent; the model reads {some(names)}")


class Column(Fitted):
    """One column of a table: a number as (x - mean) / std, or a category id; `missing` is its reserved id."""

    name: str
    missing: int
    mean: float = 0.0
    std: float = 1.0
    ids: dict[str, int] | None = None  # None: numbers or times
    time: bool = False

    def encode(self, cell: Any) -> tuple[float, float]:
        if self.ids is not None:
            return 0.0, self.ids.get(str(cell), self.missing) if cell is not None else self.missing
        cell = None if cell in MARKS else cell
        value = when(cell) if self.time else number(cell)
        if cell is not None and (value is None or not np.isfinite(value)):
            kind = "dates" if self.time else "finite numbers"
            raise InputError(f"column {self.name!r} holds {cell!r}; the model was trained on {kind} there")
        return (0.0, self.missing) if value is None else ((value - self.mean) / self.std, 0)


class Rows(Fitted):
    """row {column: cell} -> (columns, 2) float32, a row being a sequence of its columns.

    [:, 0] the standardised number, 0 where the cell is missing or a category.
    [:, 1] a category id: 0 says that [:, 0] is a number; ids 1 .. vocab-1 are unique over the table, and every
    column, numeric ones too, has one id for a missing or unseen cell.
    """

    kind: Literal["rows"] = "rows"
    columns: tuple[Column, ...]

    @property
    def vocab(self) -> int:
        return 1 + sum(1 + len(c.ids or ()) for c in self.columns)

    def encode(self, record: Any) -> Tensor:
        _need([c.name for c in self.columns], record)
        return torch.tensor([c.encode(record[c.name]) for c in self.columns], dtype=torch.float32)


class Image(Fitted):
    """picture (H, W) or (H, W, C), uint8 or float in [0, 1] -> (C, H, W) float32, resized, standardised by channel."""

    kind: Literal["image"] = "image"
    size: tuple[int, int]  # (H, W)
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def encode(self, record: Any) -> Tensor:
        image = resize(pixels(record, len(self.mean)), self.size)  # (H, W, C)
        return torch.from_numpy(standard(image, self.mean, self.std).transpose(2, 0, 1).copy())


class Frames(Fitted):
    """sequence (T, C) in its own units -> (T, C) float32, standardised by channel, cut to `max_length` frames."""

    kind: Literal["frames"] = "frames"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    max_length: int

    def encode(self, record: Any) -> Tensor:
        x = np.asarray(record)
        if x.ndim != 2 or x.shape[1] != len(self.mean) or not len(x):
            raise InputError(f"a sequence has shape {x.shape}; the model reads (T, {len(self.mean)}) with T at least 1")
        return torch.from_numpy(standard(x[: self.max_length], self.mean, self.std))


class Audio(Fitted):
    """(samples (T,), rate) -> standardised log-mel frames (frames, 40), resampled to `rate` where rates differ."""

    kind: Literal["audio"] = "audio"
    rate: int
    frames: Frames

    def encode(self, record: Any) -> Tensor:
        samples, rate = record
        return self.frames.encode(log_mel(resample(samples, rate, self.rate), self.rate))


class Window(Fitted):
    """series (T >= lookback, C) in units -> its last `lookback` rows (lookback, C), standardised by channel.

    `id`, `time` and `value` say how a file holds the series: wide (no id: the channels are columns) or long
    (one row per id and time; `pivot` says that the ids are the channels of one series).
    """

    kind: Literal["window"] = "window"
    lookback: int
    channels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    time: str = ""
    id: str = ""
    value: str = ""
    pivot: bool = False

    def encode(self, record: Any) -> Tensor:
        x = np.asarray(record)
        if x.ndim != 2 or x.shape[1] != len(self.channels) or len(x) < self.lookback:
            raise InputError(
                f"a series has shape {x.shape}; the model reads (T, {len(self.channels)}), T >= {self.lookback}"
            )
        return torch.from_numpy(standard(x[-self.lookback :], self.mean, self.std))


def standard(x: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """(x - mean) / std by channel, the last axis, in float32."""
    return ((x - np.array(mean)) / np.array(std)).astype(np.float32)


# ---- outputs ------------------------------------------------------------------------------------------------


class Classes(Fitted):
    """label <-> its index; logits (K,) -> {"label", "probabilities"}."""

    kind: Literal["classes"] = "classes"
    labels: tuple[str, ...]

    def target(self, label: Any) -> Tensor:
        return torch.tensor(self.labels.index(label))

    def decode(self, output: Tensor) -> dict[str, Any]:
        p = torch.softmax(output.detach().double().reshape(-1), 0).tolist()
        return {"label": self.labels[int(np.argmax(p))], "probabilities": dict(zip(self.labels, p, strict=True))}


class Value(Fitted):
    """number <-> (number - mean) / std."""

    kind: Literal["value"] = "value"
    mean: float
    std: float

    def target(self, label: Any) -> Tensor:
        return torch.tensor((label - self.mean) / self.std, dtype=torch.float32)

    def decode(self, output: Tensor) -> float:
        return float(output.detach().double().reshape(())) * self.std + self.mean


class Forecast(Fitted):
    """(horizon, C) standardised -> {"channels", "values"} in units."""

    kind: Literal["forecast"] = "forecast"
    channels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def decode(self, output: Tensor) -> dict[str, Any]:
        values = output.detach().double().numpy(force=True) * np.array(self.std) + np.array(self.mean)
        return {"channels": list(self.channels), "values": values.tolist()}


class Ids(Fitted):
    """token ids (T,) -> text, by the input's own vocabulary."""

    kind: Literal["ids"] = "ids"


AnyInput = Text | Rows | Image | Frames | Audio | Window
Input = Annotated[AnyInput, Field(discriminator="kind")]
Output = Annotated[Classes | Value | Forecast | Ids, Field(discriminator="kind")]


class Preparation(Fitted):
    """Record -> model input, model output -> answer; `load_prepare(p.dump()) == p`."""

    input: Input
    output: Output

    @model_validator(mode="after")
    def _fits(self) -> Preparation:
        for output, needed in ((Ids, Text), (Forecast, Window)):
            if isinstance(self.output, output) and not isinstance(self.input, needed):
                raise ValueError(f"output {self.output.kind} does not go with input {self.input.kind}")
        return self

    def encode(self, record: Any) -> Tensor:
        return self.input.encode(record)

    def decode(self, output: Tensor) -> Any:
        if isinstance(self.output, Ids):
            assert isinstance(self.input, Text)
            return self.input.text(output.reshape(-1).tolist())
        return self.output.decode(output)

    def dump(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


def load_prepare(tree: Any) -> Preparation:
    """The preparation from its JSON tree; a fault names the key."""
    return parse(Preparation, tree, "prepare")


def train_bpe(texts: list[str], size: int = 4096) -> str:
    """A byte-level BPE of at most `size` tokens trained on `texts`, as JSON."""
    tk = require("tokenizers", "choose")
    tokenizer = tk.Tokenizer(tk.models.BPE())
    tokenizer.pre_tokenizer = tk.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tk.decoders.ByteLevel()
    alphabet = tk.pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, tk.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    )
    return json.dumps(json.loads(tokenizer.to_str()), sort_keys=True)
