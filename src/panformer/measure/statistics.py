"""Intervals, paired comparisons and the Pareto front: what may be said about measured numbers.

A measure here is a function of sums over examples, so that resampling examples is resampling rows of a matrix:
accuracy, RMSE, MASE and bits per byte are all of this form (see `quality.Scores`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import require

LEVEL = 0.95
RESAMPLES = 2000

Statistic = Callable[[np.ndarray], np.ndarray]  # block numbers (..., B), with repeats -> the measure on them (...)


@dataclass(frozen=True)
class Interval:
    """A number and the 95% interval around it."""

    low: float
    mean: float
    high: float

    def within(self, low: float, high: float) -> Interval:
        """Cut at the ends of what is possible."""
        return Interval(max(low, self.low), self.mean, min(high, self.high))

    def hull(self, other: Interval) -> Interval:
        """The interval that covers both, around this one's number."""
        return Interval(min(self.low, other.low), self.mean, max(self.high, other.high))


def over_seeds(values: Sequence[float]) -> Interval:
    """Student's t interval of a mean over training seeds; one seed says nothing about spread."""
    stats = require("scipy.stats", "choose")
    x = np.asarray(values, dtype=np.float64)
    if len(x) == 0 or not np.isfinite(x).all():
        raise ValueError(f"an interval needs finite numbers, got {values!r}")
    mean = float(x.mean())
    if len(x) == 1:
        return Interval(-math.inf, mean, math.inf)
    if np.ptp(x) == 0:
        return Interval(mean, mean, mean)
    found = stats.ttest_1samp(x, 0.0).confidence_interval(LEVEL)
    return Interval(float(found.low), mean, float(found.high))


def over_blocks(statistic: Statistic, blocks: int, seed: int = 0) -> Interval:
    """Percentile bootstrap of a statistic over blocks of examples (Efron 1979; blocks: Kuensch 1989).

    Rows that hang together (overlapping windows of a series, windows of one text) belong in one block.
    """
    stats = require("scipy.stats", "choose")
    every = np.arange(blocks)
    whole = float(statistic(every))
    if blocks < 2:
        return Interval(-math.inf, whole, math.inf)
    found = stats.bootstrap(
        (every,), lambda at, axis: statistic(at), vectorized=True, method="percentile", n_resamples=RESAMPLES,
        batch=100, confidence_level=LEVEL, rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return Interval(float(found.low), whole, float(found.high))


def blocks_of(examples: int, length: int) -> list[np.ndarray]:
    """Numbers 0 .. examples-1 in consecutive blocks of `length`, at least two of them where there are two examples."""
    length = max(1, min(length, examples // 2))
    return [np.arange(i, min(i + length, examples)) for i in range(0, examples, length)]


def pareto(points: Mapping[str, Sequence[float]]) -> set[str]:
    """Names of the points that no other point beats: coordinates are all better when lower."""

    def beats(a: Sequence[float], b: Sequence[float]) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))

    return {n for n, p in points.items() if not any(beats(q, p) for m, q in points.items() if m != n)}
