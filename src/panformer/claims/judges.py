"""The seven judges. Each turns a check into an outcome; the thresholds come from the entry alone.

Every judge can fail, and shows it: comparisons carry an A-against-A run that must not win, statements
may carry a control that must fall outside, "no worse than" carries a floor that must be seen to fail.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from ..core.errors import EnvironmentGap, require
from ..measure.statistics import LEVEL, Interval
from ..papers import schema
from . import verdict as v


@dataclass(frozen=True)
class Outcome:
    verdict: str
    reason: str
    numbers: dict[str, Any] = field(default_factory=dict)
    interval: Interval | None = None


# ---- equal, parity


def equal(check: schema.Equal, ask: Callable[[str, int, Mapping[str, Any]], Any]) -> Outcome:
    """`ask(fact, seed, options)` gives the two sides. Largest error over scale, at every seed, against the tolerance."""
    errors = [difference(*ask(check.fact, s, check.options)) for s in range(check.seeds)]
    numbers: dict[str, Any] = {"error": errors, "tolerance": check.tolerance}
    if check.control is not None:
        options = {**check.options, **check.control.options}
        numbers["control"] = [difference(*ask(check.fact, s, options)) for s in range(check.seeds)]
        if min(numbers["control"]) <= check.tolerance:
            return Outcome(v.INCONCLUSIVE, "the control is equal too, so the check cannot tell", numbers)
    worst = max(errors, key=lambda e: math.inf if math.isnan(e) else e)
    same = worst <= check.tolerance
    reason = f"largest error {worst:.2g}, tolerance {check.tolerance:.2g}"
    return Outcome(v.UPHELD if same else v.NOT_UPHELD, reason, numbers)


def parity(check: schema.Parity, ask: Callable[[str, int, Mapping[str, Any]], Any]) -> Outcome:
    """As `equal`, against an installed public implementation on copied weights."""
    try:
        pairs = [ask(check.peer, s, check.options) for s in range(check.seeds)]
    except EnvironmentGap as gap:
        return Outcome(v.INCONCLUSIVE, f"peer absent: {gap}")
    errors = [difference(ours, theirs, exact=False) for ours, theirs in pairs]
    worst = max(errors, key=lambda e: math.inf if math.isnan(e) else e)
    reason = f"largest error {worst:.2g}, tolerance {check.tolerance:.2g}"
    numbers = {"error": errors, "tolerance": check.tolerance}
    return Outcome(v.UPHELD if worst <= check.tolerance else v.NOT_UPHELD, reason, numbers)


def difference(left: Any, right: Any, exact: bool = True) -> float:
    """max |left - right| over max |right|, the largest over a tree's tensors; nan where a value is nan.

    Refuses what would make equality empty: one object compared with itself, or nothing but zeros.
    With `exact` the sides must be float64, so that a tolerance means the formula and not the format.
    """
    import torch
    from torch.utils._pytree import tree_leaves

    pairs = list(zip(tree_leaves(left), tree_leaves(right), strict=True))
    if not pairs:
        raise ValueError("nothing to compare")
    worst, seen = 0.0, False
    for a, b in pairs:
        if a is b:
            raise ValueError("a tensor was compared with itself")
        if a.shape != b.shape:
            raise ValueError(f"shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be equal")
        if exact and (a.is_floating_point() or a.is_complex()) and torch.finfo(a.dtype).bits != 64:
            raise ValueError(f"an identity runs in float64, got {a.dtype}")
        a, b = a.detach(), b.detach()
        a, b = (t if t.is_complex() else t.to(torch.float64) for t in (a, b))
        apart = torch.where(a == b, torch.zeros_like(a), a - b).abs()  # equal infinities are equal
        scale = float(b[torch.isfinite(b)].abs().max()) if bool(torch.isfinite(b).any()) else 0.0
        seen = seen or scale > 0
        error = float(apart.max()) / (scale or 1.0)
        if math.isnan(error):
            return math.nan
        worst = max(worst, error)
    if not seen:
        raise ValueError("both sides are zero; equality would show nothing")
    return worst


# ---- beats


def beats(
    candidate: Sequence[float],
    control: Sequence[float],
    again: Sequence[float],
    margin: float,
    lower: bool = False,
    resolution: float = 0.0,
    floor: Sequence[float] | None = None,
) -> Outcome:
    """Paired by seed: the interval of (candidate - control), with its sign turned where lower is better.

    `again` is the control on other seeds: A against A must not be a win in either direction. `floor` is an
    arm that must not pass the same judgement.
    """
    sign = -1.0 if lower else 1.0
    gains = [sign * (a - b) for a, b in zip(candidate, control, strict=True)]
    null = [a - b for a, b in zip(again, control, strict=True)]
    numbers = {"candidate": list(candidate), "control": list(control), "null": list(again), "margin": margin}
    if not all(math.isfinite(x) for x in [*gains, *null]):
        return Outcome(v.INCONCLUSIVE, "a run ended in a value that is not finite", numbers)
    found = v.interval(gains, resolution)
    decided = v.clears(found, margin)
    reason = f"gain {found.mean:.4g} [{found.low:.4g}, {found.high:.4g}], margin {margin:g}"
    edge = max(margin, 0.0)
    for turned in (null, [-x for x in null]):
        if decided == v.UPHELD and v.clears(v.interval(turned, resolution), edge) == v.UPHELD:
            return Outcome(
                v.INCONCLUSIVE, f"{reason}; A against A wins as well, so the win proves nothing", numbers, found
            )
    if floor is not None:
        numbers["floor"] = list(floor)
        low = [sign * (a - b) for a, b in zip(floor, control, strict=True)]
        if decided == v.UPHELD and v.clears(v.interval(low, resolution), margin) == v.UPHELD:
            return Outcome(v.INCONCLUSIVE, f"{reason}; the floor passes too, so the check cannot tell", numbers, found)
    return Outcome(decided, reason, numbers, found)


# ---- scales, costs


def scales(lengths: Sequence[int], sweeps: Sequence[Sequence[float]], bound: schema.Range) -> Outcome:
    """The slope of log cost on log length, one sweep over the lengths per repeat or seed.

    Interval: over the slopes of the sweeps, and at least as wide as the straight line's own misfit allows.
    """
    stats = require("scipy.stats", "choose")
    numbers: dict[str, Any] = {"lengths": list(lengths), "values": [list(s) for s in sweeps]}
    if not all(x > 0 and math.isfinite(x) for s in sweeps for x in s):
        return Outcome(v.INCONCLUSIVE, "a value is not positive, so it has no logarithm", numbers)
    slopes = [_line(lengths, s)[0] for s in np.log(sweeps)]
    numbers["exponents"] = slopes
    slope, error = _line(lengths, np.mean(np.log(sweeps), 0))
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, len(lengths) - 2)) * error
    found = Interval(slope - reach, slope, slope + reach)
    if len(slopes) > 1:
        over = v.interval(slopes)
        found = Interval(min(found.low, over.low), found.mean, max(found.high, over.high))
    reason = f"exponent {found.mean:.3g} [{found.low:.3g}, {found.high:.3g}], expected {_range(bound)}"
    return Outcome(v.lies_in(found, bound), reason, numbers, found)


def _line(lengths: Sequence[int], y: np.ndarray) -> tuple[float, float]:
    """(slope on log length, its standard error), both 0 where y does not change."""
    x = np.log(lengths) - np.mean(np.log(lengths))
    away = y - y.mean()
    slope = x @ away / (x @ x)
    misfit = away - slope * x
    return float(slope), float(np.sqrt(misfit @ misfit / (len(x) - 2) / (x @ x)))


def costs(ours: Sequence[float], theirs: Sequence[float], again: Sequence[float], bound: schema.Range) -> Outcome:
    """The ratio ours / theirs, paired by repeat, as a geometric mean; `again` is theirs measured once more.

    Where the bound leaves out 1, the A-against-A ratio must not lie in it.
    """
    numbers = {"candidate": list(ours), "control": list(theirs), "null": list(again)}
    if not all(x > 0 and math.isfinite(x) for x in [*ours, *theirs, *again]):
        return Outcome(v.INCONCLUSIVE, "a cost is not positive, so there is no ratio", numbers)
    found = _ratio(ours, theirs)
    numbers["medians"] = [median(ours), median(theirs), median(again)]
    null = _ratio(again, theirs)
    reason = f"ratio {found.mean:.4g} [{found.low:.4g}, {found.high:.4g}], expected {_range(bound)}"
    low, high = v.open_range(bound)
    if not low <= 1 <= high and v.lies_in(null, bound) == v.UPHELD:
        return Outcome(v.INCONCLUSIVE, f"{reason}; A against A lies there too ({null.mean:.4g})", numbers, found)
    return Outcome(v.lies_in(found, bound), reason, numbers, found)


def _ratio(a: Sequence[float], b: Sequence[float]) -> Interval:
    if len({x / y for x, y in zip(a, b, strict=True)}) == 1:  # counts: exact, not through a logarithm
        return Interval(a[0] / b[0], a[0] / b[0], a[0] / b[0])
    logs = v.interval([math.log(x / y) for x, y in zip(a, b, strict=True)])
    return Interval(*(math.exp(min(side, 700.0)) for side in (logs.low, logs.mean, logs.high)))


# ---- holds, listed


def holds(values: Sequence[float], bound: schema.Range, control: Sequence[float] | None = None) -> Outcome:
    """Every seed's value lies in the bound; the control's values must all lie outside."""
    numbers: dict[str, Any] = {"values": list(values)}
    finite = all(math.isfinite(x) for x in values)
    found = v.interval(values) if finite else None
    decided = v.all_in(values, bound)
    reason = f"values {min(values):.4g} to {max(values):.4g}, expected {_range(bound)}"
    if control is not None:
        numbers["control"] = list(control)
        if decided == v.UPHELD and v.all_in(control, bound) != v.NOT_UPHELD:
            return Outcome(
                v.INCONCLUSIVE, f"{reason}; the control lies there too, so the check cannot tell", numbers, found
            )
    return Outcome(decided, reason, numbers, found)


def listed(check: schema.Listed) -> Outcome:
    return Outcome(v.INCONCLUSIVE, f"nothing to check: {check.why}")


def _range(bound: schema.Range) -> str:
    low, high = bound
    if low is None:
        return f"at most {high:g}" if high is not None else "anything"
    return f"at least {low:g}" if high is None else f"{low:g} to {high:g}"
