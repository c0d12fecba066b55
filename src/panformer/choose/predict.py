"""`panformer predict`: new input, prepared as in training, to answers in the person's own terms, one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError
from ..data.open import records
from ..data.prepare import Text
from .saved import Saved, read

ROWS = 64  # answered at a time
AHEAD, HEAT = 120, 0.8  # ids that a text is continued by, and how freely they are drawn


def predict(folder: str, source: str) -> Iterator[dict[str, Any]]:
    """Answers in the order of the input, each with where it came from."""
    saved = read(folder)
    found = records(source, saved.prepare)
    while rows := list(islice(found, ROWS)):
        inputs = [_encode(saved, where, record) for where, record in rows]
        for (where, _), answer in zip(rows, _answer(saved, inputs), strict=True):
            yield {"source": where, **answer}


def _encode(saved: Saved, where: str, record: Any) -> Tensor:
    try:
        return saved.prepare.encode(record)
    except InputError as fault:
        raise InputError(f"{where}: {fault}") from None


def _answer(saved: Saved, inputs: list[Tensor]) -> Iterator[dict[str, Any]]:
    if saved.task.kind == "language":
        yield from (_continue(saved, ids) for ids in inputs)
        return
    with torch.inference_mode():
        for out in _rows(saved, inputs):
            found = saved.prepare.decode(out)
            yield found if isinstance(found, dict) else {"value": found}


def _rows(saved: Saved, inputs: list[Tensor]) -> Tensor:
    lengths = torch.tensor([len(x) for x in inputs])
    if saved.task.reads == "image" or bool((lengths == lengths[0]).all()):
        return saved.model(torch.stack(inputs), None)
    return saved.model(torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True), lengths)


def _continue(saved: Saved, ids: Tensor) -> dict[str, Any]:
    """A text: how well the model foretells it, and how it would go on. Drawn with a fixed seed."""
    given = saved.prepare.input
    assert isinstance(given, Text)
    ids = ids[:-1]  # without the end mark
    if not len(ids):
        raise InputError("an empty text has nothing to go on from")
    window, rng, text = saved.task.max_length, np.random.default_rng(0), ids.tolist()
    nats = 0.0
    with torch.inference_mode():
        for start in range(0, len(ids) - 1, window - 1):
            piece = ids[start : start + window]
            logits = saved.model(piece[None], None)[0, :-1].double()
            nats -= float(logits.log_softmax(-1).gather(1, piece[1:, None]).sum())
        for _ in range(AHEAD):
            logits = saved.model(torch.tensor([text[-window:]]), None)[0, -1].double()
            p = (logits / HEAT).softmax(-1).numpy()
            text.append(int(rng.choice(len(p), p=p / p.sum())))
            if text[-1] == given.vocab - 2:
                break
    size = len(given.text(ids.tolist()).encode("utf-8", "replace"))
    bits = nats / math.log(2) / size if len(ids) > 1 else None
    return {"bits_per_byte": bits, "continuation": saved.prepare.decode(torch.tensor(text[len(ids) :]))}


def line(answer: dict[str, Any]) -> str:
    """One answer as a line for a person."""
    if "label" in answer:
        return f"{answer['source']}\t{answer['label']}\t{answer['probabilities'][answer['label']]:.3f}"
    if "value" in answer:
        return f"{answer['source']}\t{answer['value']:.6g}"
    if "continuation" in answer:
        return f"{answer['source']}\t{answer['continuation']!r}"
    steps = [
        "; ".join(f"{n} {v:.6g}" for n, v in zip(answer["channels"], row, strict=True)) for row in answer["values"]
    ]
    return "\n".join(f"{answer['source']}\t+{i}\t{step}" for i, step in enumerate(steps, 1))
