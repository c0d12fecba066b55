"""What a model costs: counted where it can be counted, else timed on this machine.

parameters flops bytes peak saved state   counted, see measure/cost.py; bytes are bytes
forward   seconds of one forward pass over `batch` sequences of `length` tokens
train     seconds of one forward and backward pass
decode    seconds of one more token for `batch` rows that have read `length` tokens
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from ..core import state as states
from ..core.errors import InputError
from ..measure import cost as counted
from ..model.build import build
from ..model.model import Model

TIMED = ("forward", "train", "decode")
ENDS = {"embed": {"use": "tokens", "vocab": 256}}  # for a model that says nothing of its own
LEAST = 0.02  # seconds of work in one timing


def meter(cost: str, spec: dict[str, Any], length: int, batch: int) -> Callable[[], float]:
    """A function that measures once; timed ones are warmed up, and answer the best of a few runs."""
    model = build(spec, seed=0).eval()
    if cost not in TIMED:
        return lambda: float(_count(cost, model, length, batch))
    work = {"forward": _forward, "train": _train, "decode": _decode}[cost](model, length, batch)
    work()
    once = _clock(work)
    runs = max(3, min(50, int(LEAST / max(once, 1e-6)) + 1))
    return lambda: min(_clock(work) for _ in range(runs))


def _count(cost: str, model: Model, length: int, batch: int) -> int:
    if cost == "parameters":
        return counted.parameters(model)
    if cost == "state":
        return _state(model, length, batch)
    return getattr(counted.of_model(model, length, batch), cost)


@torch.no_grad()
def _state(model: Any, length: int, batch: int) -> int:
    """Bytes held between tokens after `length` of them."""
    stream = model.start(batch)
    _, (after, _) = model.chunk(*model.dummy(length, batch), stream)
    return states.size(after.layers)


def _forward(model: Any, length: int, batch: int) -> Callable[[], None]:
    inputs = model.dummy(length, batch)

    @torch.no_grad()
    def work() -> None:
        model(*inputs)

    return work


def _train(model: Any, length: int, batch: int) -> Callable[[], None]:
    inputs = model.dummy(length, batch)

    def work() -> None:
        model.zero_grad()
        model(*inputs).float().square().mean().backward()

    return work


def _decode(model: Any, length: int, batch: int) -> Callable[[], None]:
    why = model.why_no_stream()
    if why:
        raise InputError(f"cost decode: {why}")
    with torch.no_grad():
        _, stream = model.chunk(*model.dummy(length, batch), model.start(batch))
        (token,) = model.dummy(1, batch)

    @torch.no_grad()
    def work() -> None:
        model.chunk(token, stream)

    return work


def _clock(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
