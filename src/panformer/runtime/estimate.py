"""Will it fit, how long will it take: counted operations, with this machine's speed taken from two short runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.errors import InputError, check_type
from ..core.memory import installed
from ..measure.cost import Cost, of_model
from ..model.model import Model

PROBES = (0.25, 0.5)  # of the length: where the speed is measured
MOST = 10**12  # tokens of a call that no machine would hold
SHORT = 16  # tokens below which nothing is extrapolated
ROUNDS = 3


@dataclass(frozen=True)
class Estimate:
    """One call, or one training step, on `batch` inputs of `length` tokens."""

    length: int
    batch: int
    train: bool
    seconds: float
    memory: int  # bytes: weights, activations at once; gradients and AdamW's two moments in training
    available: int  # bytes of memory this machine has free
    flops: int

    @property
    def fits(self) -> bool:
        return self.memory <= self.available

    def dump(self) -> dict[str, Any]:
        return {**asdict(self), "fits": self.fits}


def estimate(model: Model, length: int, batch: int = 1, train: bool = False) -> Estimate:
    """Time is a + b x operations, with a and b from runs at a quarter and a half of the length; memory is counted.

    Nothing of the full length is run. Errors: InputError for a length or batch below 1.
    """
    check_type("estimate", model, Model)
    check_type("estimate: length", length, int)
    check_type("estimate: batch", batch, int)
    if length < 1 or batch < 1:
        raise InputError(f"estimate: length and batch must be at least 1, got {length} and {batch}")
    if length * batch > MOST:
        raise InputError(f"estimate: {length} x {batch} tokens are more than {MOST:.0e}")
    cost = of_model(model, length, batch)
    lengths = [max(SHORT, round(p * length)) for p in PROBES]
    if lengths[0] == lengths[-1] or lengths[-1] >= length:
        seconds = measured(model, length, batch, train)
    else:
        times = [measured(model, n, batch, train) for n in lengths]
        seconds = _extended(times, [of_model(model, n, batch).flops for n in lengths], cost.flops)
    return Estimate(length, batch, train, seconds, _memory(model, cost, train), _available(), cost.flops)


def measured(model: Model, length: int, batch: int = 1, train: bool = False) -> float:
    """Median seconds of a call, or of a forward and backward pass, on zeros."""
    call = model.dummy(length, batch)
    run = _trained(model, call) if train else _answered(model, call)
    run()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _answered(model: Model, call: tuple[Any, ...]) -> Callable[[], None]:
    model.eval()

    def run() -> None:
        with torch.inference_mode():
            model(*call)

    return run


def _trained(model: Model, call: tuple[Any, ...]) -> Callable[[], None]:
    model.train()

    def run() -> None:
        out: Tensor = model(*call)
        out.float().square().mean().backward()
        model.zero_grad(set_to_none=True)

    return run


def _extended(times: list[float], work: list[int], target: int) -> float:
    """The line through two points, with a share that does not grow where there is one."""
    slope = (times[1] - times[0]) / max(1, work[1] - work[0])
    fixed = times[1] - slope * work[1]
    if slope <= 0 or fixed < 0:  # noise, or work that costs more than its count: by proportion
        return times[1] * target / work[1]
    return fixed + slope * target


def _memory(model: Model, cost: Cost, train: bool) -> int:
    weights = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    if not train:
        return weights + cost.peak
    return 4 * weights + max(cost.saved, cost.peak)


def _available() -> int:
    try:
        with open("/proc/meminfo", encoding="utf-8") as lines:
            found = next(line for line in lines if line.startswith("MemAvailable"))
        return int(found.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        return installed()
