"""How the minutes are spent. A plan is made once, from measured times, and kept: a resumed run follows the same one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import InputError
from ..data.raw import counted
from .trial import LEAST, Pace

SEARCH = 0.4  # of what is left after baselines and probes; the rest goes to the finalists
FIRST = 0.35  # of the search goes to one trial of every mixer, in equal shares
SHORTEST, LONGEST = 1.0, 20.0  # seconds of a trial
TRIALS = 8  # that a mixer of the second round gets, where two or more can get them
PROBED = 0.5  # seconds that one mixer takes to be looked at and probed, before any was
MEASURING = (1.5, 9.0)  # seconds to set aside for measuring: per contender, and in all


@dataclass(frozen=True)
class SearchPlan:
    """Every mixer gets one trial of `trial` seconds; the best `kept` get `family` seconds each, all alike."""

    mixers: list[str]
    trial: float
    kept: int
    family: float


@dataclass(frozen=True)
class FinalPlan:
    finalists: int
    seconds: float  # of one training run
    drag: float  # how much longer trials took than their probes had said: the machine is busier, or less so


def search_plan(minutes: float, left: float, paces: Mapping[str, Pace]) -> dict[str, Any]:
    """The plan for the `left` seconds of --minutes, as JSON; `short` are the mixers they do not reach, and why.

    Raises InputError where not even two mixers (or the only one) can be tried.
    """
    least = {m: max(SHORTEST, p.seconds(LEAST, 8)) for m, p in paces.items()}
    order = sorted(least, key=lambda m: (paces[m].seconds(LEAST, 8), m))
    search = SEARCH * (left - reserve(finalists(left)))
    count = len(order)
    while count and FIRST * search / count < max(least[m] for m in order[:count]):
        count -= 1
    if count < min(2, len(order)):
        tried = order[: min(2, len(order))]
        raise too_little(minutes, len(tried), needed(len(tried), max(least[m] for m in tried)) - left)
    trial = min(LONGEST, FIRST * search / count)
    kept = min(count, max(2, int((1 - FIRST) * search / (TRIALS * trial))))
    slow, over = "one trial takes {:.1f} s, over its equal share of the minutes", order[count:]
    many = f"the minutes are enough for {count} of {len(order)} mixers, and these are slower in training"
    short = {m: slow.format(least[m]) if least[m] > SHORTEST else many for m in over}
    rest = search - trial * count
    return {**vars(SearchPlan(order[:count], trial, kept, rest / kept)), "short": short}


def needed(mixers: int, trial: float = SHORTEST) -> float:
    """Seconds that a plan with one trial of each needs, after baselines and probes."""
    return mixers * trial / FIRST / SEARCH + reserve(2)


def too_little(minutes: float, mixers: int, more: float) -> InputError:
    """`more` are the seconds that are lacking."""
    enough = minutes + more / 60 + 0.1
    return InputError(f"--minutes {minutes:g} is too little to try {counted(mixers, 'mixer')} here; try {enough:.1f}")


def check_minutes(minutes: float, left: float, mixers: int, probed: int = 0, took: float = 0.0) -> None:
    """Refuse, before or while mixers are probed, minutes that cannot be enough: `probed` of them `took` seconds."""
    least = min(2, mixers)
    if (lack := needed(least) - left) > 0:
        each = took / probed if probed else PROBED
        raise too_little(minutes, least, lack + each * (mixers - probed))


def final_plan(left: float, count: int, seeds: int, took: Sequence[tuple[float, float]]) -> FinalPlan:
    """What is left, in equal shares over finalists and seeds. `took`: (planned, measured) seconds of the trials."""
    number = min(count, finalists(left))
    planned, measured = (sum(t[i] for t in took) for i in (0, 1))
    drag = min(3.0, max(0.5, measured / planned)) if planned else 1.0
    return FinalPlan(number, max(2.0, (left - reserve(number)) / (number * seeds)), drag)


def finalists(left: float) -> int:
    """Two where time is short, else three."""
    return 2 if left < 240 else 3


def reserve(number: int) -> float:
    """Seconds kept back for measuring this many finalists, the baselines, and the report."""
    return MEASURING[0] * number + MEASURING[1]
