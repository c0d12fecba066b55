"""How the minutes are spent. A plan is made once, from measured times, and kept: a resumed run follows the same one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..core.errors import InputError
from .trial import LEAST, Pace

SEARCH = 0.4  # of what is left after baselines and probes; the rest goes to the finalists
FIRST = 0.35  # of the search goes to one trial of every mixer, in equal shares
SHORTEST, LONGEST = 1.0, 20.0  # seconds of a trial
TRIALS = 8  # that a mixer of the second round gets at least
MEASURING = (1.0, 8.0)  # seconds to set aside for measuring: per contender, and in all


@dataclass(frozen=True)
class SearchPlan:
    """Every mixer gets one trial of `trial` seconds; the best `kept` get `family` seconds each, all alike."""

    mixers: tuple[str, ...]
    trial: float
    kept: int
    family: float


@dataclass(frozen=True)
class FinalPlan:
    finalists: int
    seconds: float  # of one training run


def search_plan(minutes: float, left: float, paces: Mapping[str, Pace]) -> tuple[SearchPlan, dict[str, str]]:
    """The plan for the `left` seconds of --minutes, and the mixers that the minutes do not reach, with the reason.

    Raises InputError where not even two mixers (or the only one) can be tried.
    """
    least = {m: max(SHORTEST, p.seconds(LEAST, 8)) for m, p in paces.items()}
    order = sorted(least, key=lambda m: (least[m], m))
    search = SEARCH * (left - reserve(finalists(left)))
    count = len(order)
    while count and FIRST * search / count < max(least[m] for m in order[:count]):
        count -= 1
    if count < min(2, len(order)):
        tried = order[: min(2, len(order))]
        more = max(least[m] for m in tried) * len(tried) / FIRST / SEARCH + reserve(2) - left
        raise InputError(
            f"--minutes {minutes:g} is too little to try {len(tried)} mixers here; {minutes + more / 60 + 0.1:.1f} would do"
        )
    trial = min(LONGEST, FIRST * search / count)
    kept = max(1, min(count, int((1 - FIRST) * search / (TRIALS * trial))))
    short = {m: f"one trial takes {least[m]:.1f} s, over its equal share of the minutes" for m in order[count:]}
    rest = search - trial * count
    return SearchPlan(tuple(order[:count]), trial, kept, rest / kept), short


def final_plan(left: float, count: int, seeds: int) -> FinalPlan:
    """What is left, in equal shares over finalists and seeds."""
    number = min(count, finalists(left))
    return FinalPlan(number, max(2.0, (left - reserve(number)) / (number * seeds)))


def finalists(left: float) -> int:
    """Two where time is short, else three."""
    return 2 if left < 240 else 3


def reserve(number: int) -> float:
    """Seconds kept back for measuring this many finalists, the baselines, and the report."""
    return MEASURING[0] * number + MEASURING[1]
