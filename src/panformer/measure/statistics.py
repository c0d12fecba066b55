"""Intervals, paired comparisons and the Pareto front: what may be said about measured numbers.

A measure here is a function of sums over examples, so that resampling examples is resampling rows of a matrix:
accuracy, RMSE, MASE and bits per byte are all of this form (see `quality.Scores`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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

    def unsure(self, n: float) -> Interval:
        """Of a share of n examples that all came out alike, which no resampling can vary: the exact interval.

        Source: Clopper and Pearson 1934.
        """
        least = ((1 - LEVEL) / 2) ** (1 / n)
        if self.mean == 1:
            return Interval(min(self.low, least), 1.0, 1.0)
        return Interval(0.0, 0.0, max(self.high, 1 - least)) if self.mean == 0 else self

    def unsure_apart(self, n: float) -> Interval:
        """Of the difference of two shares that n examples never told apart: as far as a share of none of n may be off."""
        if n == 0 or not self.nothing:
            return self
        room = self.unsure(n).high
        return Interval(-room, 0.0, room)

    @property
    def nothing(self) -> bool:
        """A difference that no example shows."""
        return self.low == self.mean == self.high == 0


def over_blocks(statistic: Statistic, blocks: int, seed: int = 0) -> Interval:
    """Percentile bootstrap of a statistic over blocks of examples (Efron 1979; blocks: Kuensch 1989).

    Rows that hang together (overlapping windows of a series, windows of one text) belong in one block.
    """
    if blocks < 2:
        return Interval(-math.inf, float(statistic(np.arange(blocks))), math.inf)
    found = _bootstrap(statistic, blocks, seed)
    low, high = found.confidence_interval
    return Interval(float(low), float(statistic(np.arange(blocks))), float(high))


def over_both(statistic: Statistic, blocks: int, values: Sequence[float], seed: int = 0) -> Interval:
    """The interval of a mean over training seeds on a sampled test split: both are chance, and their variances add.

    `statistic` is the mean over seeds on blocks of examples, `values` the seeds one by one. Student's t with the
    degrees of freedom of Welch and Satterthwaite 1946: few seeds that differ much give a wide interval.
    """
    n = len(values)
    if n < 2 or blocks < 2:
        return over_blocks(statistic, blocks, seed)
    stats = require("scipy.stats", "choose")
    of_rows, of_seeds = (
        float(_bootstrap(statistic, blocks, seed).standard_error) ** 2,
        float(np.var(values, ddof=1)) / n,
    )
    mean, both = float(statistic(np.arange(blocks))), of_rows + of_seeds
    if both == 0:
        return Interval(mean, mean, mean)
    freedom = both**2 / (of_rows**2 / (blocks - 1) + of_seeds**2 / (n - 1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(both)
    return Interval(mean - half, mean, mean + half)


def _bootstrap(statistic: Statistic, blocks: int, seed: int) -> Any:
    return require("scipy.stats", "choose").bootstrap(
        (np.arange(blocks),), lambda at, axis: statistic(at), vectorized=True, method="percentile",
        n_resamples=RESAMPLES, batch=100, confidence_level=LEVEL, rng=np.random.default_rng(seed),
    )  # fmt: skip


def blocks_of(examples: int, length: int) -> list[np.ndarray]:
    """Numbers 0 .. examples-1 in consecutive blocks of `length`, at least two of them where there are two examples."""
    length = max(1, min(length, examples // 2))
    return [np.arange(i, min(i + length, examples)) for i in range(0, examples, length)]


def pareto(points: Mapping[str, Sequence[float]]) -> set[str]:
    """Names of the points that no other point beats: coordinates are all better when lower."""

    def beats(a: Sequence[float], b: Sequence[float]) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))

    return {n for n, p in points.items() if not any(beats(q, p) for m, q in points.items() if m != n)}
