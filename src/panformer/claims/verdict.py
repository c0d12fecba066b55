"""From numbers to a verdict: `upheld`, `not upheld` or `inconclusive`.

The interval of a mean is the union of Student's t and the bootstrap (BCa, Efron 1987). With three to
five seeds the bootstrap alone is far too narrow (three draws of one sign happen by chance one time in
four); with many seeds and skewed samples it is the better of the two. The union keeps the level of both.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..core.errors import require
from ..measure.statistics import LEVEL, RESAMPLES, Interval

Bound = tuple[float | None, float | None]  # an open side is None
UPHELD, NOT_UPHELD, INCONCLUSIVE = "upheld", "not upheld", "inconclusive"


def interval(samples: Sequence[float], resolution: float = 0.0) -> Interval:
    """The 95% interval of the mean of independent samples.

    `resolution` is the smallest step the measure can take (1 over the number of answers): the interval
    never claims to be finer, so three equal differences of one answer are not a certainty.
    """
    x = np.asarray(samples, dtype=np.float64)
    if x.ndim != 1 or len(x) == 0 or not np.isfinite(x).all():
        raise ValueError(f"an interval needs finite numbers, got {samples!r}")
    mean = float(x.mean())
    if len(x) == 1:
        return Interval(-math.inf, mean, math.inf)
    ends = [mean - resolution, mean + resolution]
    if np.ptp(x) > 0:
        stats = require("scipy.stats", "choose")
        ends += [float(e) for e in stats.ttest_1samp(x, 0.0).confidence_interval(LEVEL)]
        if len(x) >= 3:
            ends += [e for e in _bootstrap(stats, x) if math.isfinite(e)]  # BCa is undefined for some small samples
    return Interval(min(ends), mean, max(ends))


def _bootstrap(stats: Any, x: np.ndarray) -> tuple[float, float]:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = stats.bootstrap((x,), np.mean, confidence_level=LEVEL, n_resamples=RESAMPLES, method="BCa", rng=0)
    low, high = found.confidence_interval
    return float(low), float(high)


def clears(found: Interval, margin: float) -> str:
    """Upheld where the whole interval lies above the margin, not upheld where it lies below."""
    if found.low > margin:
        return UPHELD
    return NOT_UPHELD if found.high < margin else INCONCLUSIVE


def lies_in(found: Interval, bound: Bound) -> str:
    """Upheld where the whole interval lies in the bound, not upheld where it lies outside."""
    low, high = open_range(bound)
    if low <= found.low and found.high <= high:
        return UPHELD
    return NOT_UPHELD if found.high < low or found.low > high else INCONCLUSIVE


def open_range(bound: Bound) -> tuple[float, float]:
    low, high = bound
    return (-math.inf if low is None else low), (math.inf if high is None else high)


def all_in(values: Sequence[float], bound: Bound) -> str:
    """Upheld where every value lies in the bound, not upheld where none does."""
    low, high = open_range(bound)
    inside = [low <= v <= high for v in values]  # nan is inside nothing
    return UPHELD if all(inside) else INCONCLUSIVE if any(inside) else NOT_UPHELD


def combine(verdicts: Iterable[str]) -> str:
    """Upheld only if all are, not upheld if any is, else inconclusive."""
    found = list(verdicts)
    if NOT_UPHELD in found:
        return NOT_UPHELD
    return UPHELD if found and all(v == UPHELD for v in found) else INCONCLUSIVE
