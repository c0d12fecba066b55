"""What may be said about finished trials: means with intervals, pairs with corrected tests, and the false-win rate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..claims.verdict import interval
from ..core.errors import require
from ..measure.statistics import LEVEL

DRAWS = 400  # sets of seeds that the false-win rate is counted on
STEPPED = 1.25  # by how much a t test's p is too small at worst where results take few values
Values = Mapping[str, Sequence[float | None]]  # arm -> one value per seed, None where training diverged


def summary(values: Values, lower: bool, resolution: float) -> list[dict[str, Any]]:
    """Mean, interval and rank of every arm; no mean where a run diverged."""
    out = []
    for arm, got in values.items():
        found = [v for v in got if v is not None]
        told: dict[str, Any] = {"arm": arm, "seeds": len(got), "diverged": len(got) - len(found)}
        if len(found) == len(got):
            at = interval(found, resolution)
            told |= {"mean": at.mean, "low": _finite(at.low), "high": _finite(at.high)}
        else:
            told |= {"mean": None, "low": None, "high": None}
        out.append(told)
    for told in out:
        better = [
            o
            for o in out
            if told["mean"] is not None
            and o["mean"] is not None
            and (o["mean"] < told["mean"] if lower else o["mean"] > told["mean"])
        ]
        told["rank"] = None if told["mean"] is None else 1 + len(better)
    return out


def pairs(values: Values, lower: bool, resolution: float) -> list[dict[str, Any]]:
    """Every pair of arms, paired by seed: gain of a over b, p of `_p`, Holm's correction over all pairs (Holm 1979).

    An arm is ahead where the corrected p is below 0.05 and the interval of the gain, never finer than one answer of the
    test, leaves out 0.
    """
    out = []
    for a, b in itertools.combinations(values, 2):
        gains = _gains(values[a], values[b], lower)
        told: dict[str, Any] = {"a": a, "b": b}
        if gains is None:
            out.append({**told, "gain": None, "low": None, "high": None, "p": 1.0})
            continue
        at = interval(gains, resolution)
        out.append({**told, "gain": at.mean, "low": _finite(at.low), "high": _finite(at.high), "p": _p(gains)})
    least = 0.0
    for rank, told in enumerate(sorted(out, key=lambda t: t["p"])):
        told["p_holm"] = least = max(least, min(1.0, told["p"] * (len(out) - rank)))
        told["verdict"] = _verdict(told)
    return out


def least_p(seeds: int) -> float:
    """How often equal arms differ by the same amount at every seed, if each run comes out in one of two ways, at most:
    each arm is the better one at a seed with a quarter, so 2 / 4^seeds."""
    return float(2 * 0.25**seeds)


def least_seeds(arms: int) -> int:
    """With fewer seeds no pair of so many arms can be told apart."""
    count = arms * (arms - 1) // 2
    return next(n for n in itertools.count(2) if least_p(n) * count < 1 - LEVEL)


def false_wins(gains: Sequence[float], seeds: int, resolution: float, rng: int = 0) -> float:
    """Of an arm against itself, the share of sets of `seeds` gains that the verdict would call a win.

    `gains` are differences between two training runs of one model that share a test; under the null each may as well
    have the other sign, so sets are drawn without repeats and signs by coin.
    """
    draw = np.random.default_rng(rng)
    wins = 0
    for _ in range(DRAWS):
        some = draw.choice(np.asarray(gains), seeds, replace=False) * draw.choice([-1.0, 1.0], seeds)
        (told,) = pairs({"a": list(some), "b": [0.0] * seeds}, False, resolution)
        wins += told["verdict"] != "not told apart"
    return wins / DRAWS


def _gains(a: Sequence[float | None], b: Sequence[float | None], lower: bool) -> list[float] | None:
    sign = -1.0 if lower else 1.0
    both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    return [sign * (x - y) for x, y in both] if len(both) == len(a) else None


def _p(gains: Sequence[float]) -> float:
    """Of a t test that the mean is 0, made safe for training runs; 1 where there is nothing to test.

    A run often learns or does not. Then all seeds favour one of two equal arms by the same amount with up to `least_p`,
    where the t test sees no spread and says 0; and sums of few different gains are no normal numbers, which at 6 to 10
    seeds lets 6 to 7 of 100 pass for 5. Both were counted on drawn results (tests/compare/test_judge.py).
    """
    if len(gains) < 2 or not any(gains):
        return 1.0
    alike = len(set(gains)) == 1
    p = 0.0 if alike else float(require("scipy.stats", "choose").ttest_1samp(gains, 0.0).pvalue)
    return min(1.0, max(STEPPED * p, least_p(len(gains))))


def _verdict(told: Mapping[str, Any]) -> str:
    if told["gain"] is None or told["p_holm"] >= 1 - LEVEL:
        return "not told apart"
    if told["low"] is not None and told["low"] > 0:
        return f"{told['a']} ahead"
    return f"{told['b']} ahead" if told["high"] is not None and told["high"] < 0 else "not told apart"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
