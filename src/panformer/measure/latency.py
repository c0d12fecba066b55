"""How long an answer takes: warmed up, interleaved between the models compared, told as median and 95th percentile."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

WARM = 3
ROUNDS = (10, 200)  # fewest and most calls of each model


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one call over `calls` of them."""

    median: float
    p95: float
    calls: int

    def dump(self) -> dict[str, float]:
        return asdict(self)


def latencies(calls: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, Latency]:
    """Every call timed in turn, round after round, so that a busy moment of the machine strikes all alike.

    Ends after about `seconds`, but not before 10 rounds nor after 200.
    """
    for call in calls.values():
        for _ in range(WARM):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    began = time.perf_counter()
    for turn in range(ROUNDS[1]):
        if turn >= ROUNDS[0] and time.perf_counter() - began > seconds:
            break
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: _told(t) for name, t in times.items()}


def latency(call: Callable[[], object], seconds: float) -> Latency:
    """One call on its own."""
    return latencies({"": call}, seconds)[""]


def _told(seconds: list[float]) -> Latency:
    ms = 1000 * np.asarray(seconds)
    return Latency(float(np.median(ms)), float(np.quantile(ms, 0.95)), len(ms))
