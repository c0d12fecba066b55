"""`panformer stream`: a model answers line by line, as its input comes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from ..model.model import Model
    from ..runtime.running import Running

Answer = Callable[[str], dict[str, Any]]


def stream(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder that choose, train or import wrote.")],
    state: Annotated[bool, typer.Option("--state", help="Say with each answer how many bytes are carried on.")] = False,
) -> None:
    """Read values or text line by line from standard input and answer each line with a line of JSON.

    A line of values is one step: numbers with commas or spaces between them. A line of text is answered with the bits
    per byte that the model needed for it and the token it expects next. What was read stays in the model's state:
    constant for recurrent models and windows, growing for attention.

    \b
    Examples:
      tail -f sensor.csv | panformer stream runs/sensor
      cat notes.txt | panformer stream smollm2
    """
    from ..runtime.running import Running

    answer, running = _opened(model, Running)
    for number, line in enumerate(sys.stdin, 1):
        try:
            told = {"line": number, **answer(line)}
        except InputError as fault:
            raise InputError(f"line {number}: {fault}") from None
        if state:
            told["state_bytes"] = running.bytes()
        typer.echo(json.dumps(told, ensure_ascii=False))
        sys.stdout.flush()


def _opened(folder: Path, make: Callable[[Model], Running]) -> tuple[Answer, Running]:
    from ..generate import text
    from ..model import io

    names = io.verify(folder)
    if "baseline" in io.read_json(folder / "config.json"):
        raise InputError(f"{folder}: holds a baseline, which has no state to carry on; use `panformer predict`")
    model = io.load(folder, names=names)
    running = make(model)
    if model.embed.reads == "tokens" and hasattr(model.head, "vocab"):
        return _text(text.around(folder, model, names), running), running
    if model.embed.reads == "tokens":
        raise InputError(f"{folder}: answers texts as a whole; use `panformer predict`")
    return _values(folder, names, running), running


def _text(writer: Any, running: Running) -> Answer:
    expected: list[Tensor] = []  # logits of the token to come

    def answer(line: str) -> dict[str, Any]:
        import torch

        ids = writer.tokenizer.encode(line)
        if not ids:
            raise InputError("is empty")
        logits = running.push(torch.tensor(ids)).double()
        before = torch.cat([*(e[None] for e in expected), logits[:-1]])
        wanted = torch.tensor(ids[-len(before) :] if len(before) else [], dtype=torch.int64)
        nats = -before.log_softmax(-1).gather(1, wanted[:, None]).sum().item() if len(before) else None
        expected[:] = [logits[-1]]
        size = len(line.encode("utf-8", "replace"))
        return {
            "tokens": len(ids),
            "bits_per_byte": None if nats is None else nats / math.log(2) / size,
            "next": writer.tokenizer.decode([int(logits[-1].argmax())]),
        }

    return answer


def _values(folder: Path, names: Any, running: Running) -> Answer:
    """Numbers in their own units where the folder knows them, and answers in a person's terms."""
    import numpy as np
    import torch

    from ..choose.saved import FILE
    from ..data.prepare import load_prepare, standard
    from ..model.io import read_json

    prepare = load_prepare(read_json(folder / FILE).get("prepare")) if FILE in names else None
    given: Any = prepare.input if prepare is not None else None
    if given is not None and given.kind not in ("frames", "window"):
        raise InputError(f"{folder}: reads {given.kind}, which does not come step by step")
    channels = len(given.mean) if given is not None else getattr(running.model.embed, "channels", 1)
    own = next(running.model.parameters())

    def answer(line: str) -> dict[str, Any]:
        x = np.array([list(_numbers(line, channels))])
        ready = standard(x, given.mean, given.std) if given is not None else x.astype(np.float32)
        out = running.push(torch.from_numpy(ready).to(own.dtype)).float()
        if prepare is None or running.how is None:
            return {"answer": out.tolist() if running.how is not None else out[-1].tolist()}
        found = prepare.decode(out)
        return found if isinstance(found, dict) else {"value": found}

    return answer


def _numbers(line: str, channels: int) -> Iterator[float]:
    cells = line.replace(",", " ").replace(";", " ").split()
    if len(cells) != channels:
        raise InputError(f"holds {len(cells)} numbers; the model reads {channels} a step")
    for cell in cells:
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{cell!r} is not a finite number")
        yield value
