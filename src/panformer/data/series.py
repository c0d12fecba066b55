"""Forecasting: one or many series -> windows (lookback, C) and what follows them (horizon, C), split by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import torch

from ..core.errors import InputError
from .base import Dataset, Examples, Task
from .prepare import Forecast, Preparation, Window
from .raw import Notes, Options, content, fingerprint, some
from .split import NAMES, in_order

MOST = (20_000, 2_000, 2_000)  # windows per split; more are thinned evenly
LONGEST = 512  # steps of lookback, unless more are asked for
DAY = 86_400
CYCLES = {60: 60, 300: 288, 600: 144, 900: 96, 1800: 48, 3600: 24, DAY: 7, 7 * DAY: 52}  # step in s -> season
CALENDAR = {28 * DAY: (31 * DAY, 12), 89 * DAY: (93 * DAY, 4), 365 * DAY: (366 * DAY, 1)}  # months, quarters, years


@dataclass
class Series:
    """values (T, C), evenly spaced, NaN where missing; `when[t]` says the time for a person."""

    name: str
    values: np.ndarray
    when: Sequence[str]


@dataclass(frozen=True)
class Shape:
    """How a file holds its series; travels in the preparation."""

    time: str = ""
    id: str = ""
    value: str = ""
    pivot: bool = False


def forecasting(
    name: str, series: list[Series], channels: tuple[str, ...], opt: Options, notes: Notes,
    shape: Shape | None = None, season: int | None = None,
) -> Dataset:  # fmt: skip
    """Series of common channels -> the data set. `season` is the calendar's; the option overrides it."""
    opt.refuse(f"{name}: a series", "image_size", "tokens")
    shape = shape or Shape()
    if opt.max_rows is not None:
        for s in series:
            s.values, s.when = s.values[-opt.max_rows :], s.when[-opt.max_rows :]
    series, channels = _fill(name, series, channels, notes)
    told = "as asked" if opt.season else "by the calendar" if season else "at which the series repeats best"
    season = opt.season or season or _period(series[0].values[: in_order(len(series[0].values))[0]])
    told = told if season > 1 else "nothing repeats"
    horizon, lookback, why = _sizes(name, max(len(s.values) for s in series), season, told, opt)
    notes.why.append(why)
    series = _long_enough(name, series, horizon, lookback, notes)
    mean, std = _moments(series)
    given = Window(
        lookback=lookback, channels=channels, mean=mean, std=std,
        time=shape.time, id=shape.id, value=shape.value, pivot=shape.pivot,
    )  # fmt: skip
    scaled = [torch.from_numpy(((s.values - np.array(mean)) / np.array(std)).astype(np.float32)) for s in series]
    examples = [_windows(series, scaled, part, horizon, lookback) for part in range(3)]
    facts = notes.facts
    facts["modality"] = "series"
    facts["rows"] = {
        "read": sum(len(s.values) for s in series),
        "used": sum(len(s.values) for s in series),
        "refused": len(notes.refused),
    }
    facts["series"] = len(series)
    facts["naive_mae"] = _naive(name, scaled, season)
    rule = "70/15/15 by time within each series, in windows: what is predicted in test comes after valid, and that after train"
    facts["split"] = {"rule": rule, "seed": opt.seed, **{n: len(e) for n, e in zip(NAMES, examples, strict=True)}}
    facts["why"], facts["warnings"] = notes.why, notes.warnings
    task = Task(
        "forecasting", "values", "mase", channels=len(channels), columns=channels,
        horizon=horizon, season=season, max_length=lookback,
    )  # fmt: skip
    mark = fingerprint([content(s.values) for s in series], opt)
    prepare = Preparation(input=given, output=Forecast(channels=channels, mean=mean, std=std))
    train, valid, test = examples
    return Dataset(name, task, train, valid, test, prepare, facts, notes.refused, mark)


def carry(values: np.ndarray) -> np.ndarray:
    """(T, C) with each NaN replaced by the last number before it; NaN stays where there is none."""
    at = np.where(np.isnan(values), 0, np.arange(len(values))[:, None])
    return np.take_along_axis(values, np.maximum.accumulate(at, 0), 0)


def _fill(
    name: str, series: list[Series], channels: tuple[str, ...], notes: Notes
) -> tuple[list[Series], tuple[str, ...]]:
    """Channels that are half empty or constant left out, gaps carried forward, first steps without a number cut."""
    joined = np.concatenate([s.values for s in series])
    if np.isinf(joined).any():
        s = next(s for s in series if np.isinf(s.values).any())
        t, c = np.argwhere(np.isinf(s.values))[0]
        raise InputError(f"{s.name}, {s.when[t]}: channel {channels[c]!r} is {s.values[t, c]}; numbers must be finite")
    gaps = np.isnan(joined).mean(0)
    train = np.concatenate([s.values[: in_order(len(s.values))[0]] for s in series])
    keep = []
    for c, channel in enumerate(channels):
        known = train[~np.isnan(train[:, c]), c]
        if gaps[c] > 0.5:
            notes.warnings.append(f"channel {channel!r} lacks {gaps[c]:.0%} of its values: it is left out")
        elif not len(known) or known.min() == known.max():
            notes.warnings.append(f"channel {channel!r} is constant in the training part: it is left out")
        else:
            keep.append(c)
            lost = int(np.isnan(joined[:, c]).sum())
            if lost:
                s = next(s for s in series if np.isnan(s.values[:, c]).any())
                first = s.when[int(np.isnan(s.values[:, c]).argmax())]
                notes.warnings.append(
                    f"channel {channel!r} lacks {lost:,} of {len(joined):,} values (first: {s.name}, {first}); "
                    "the last one before is carried forward"
                )
    if not keep:
        raise InputError(
            f"{name}: every channel ({some(channels)}) is constant or over half empty; nothing is left to forecast"
        )
    filled = []
    for s in series:
        values = carry(s.values[:, keep])
        start = int((~np.isnan(values).any(1)).argmax()) if not np.isnan(values).any(1).all() else len(values)
        if start:
            notes.refused.append(f"{s.name}: the first {start:,} steps, before every channel has a value")
        if start < len(values):
            filled.append(Series(s.name, values[start:], s.when[start:]))
    return filled, tuple(channels[c] for c in keep)


def _sizes(name: str, steps: int, season: int, why: str, opt: Options) -> tuple[int, int, str]:
    """Horizon: one season, at most a twelfth of the series; lookback: three horizons and two seasons, if it fits."""
    horizon = opt.horizon or max(1, min(season if season > 1 else 12, steps // 12))
    train, valid = in_order(steps)
    room = valid - train
    if horizon > room:
        raise InputError(f"{name}: horizon {horizon} is too long: a series of {steps:,} steps keeps {room} for tuning")
    lookback = opt.lookback or max(1, min(max(3 * horizon, 2 * season, 32), LONGEST, train // 2 - horizon))
    told = "as asked" if opt.horizon else f"one season of {season}" if horizon == season else f"for {steps:,} steps"
    return horizon, lookback, f"horizon {horizon} ({told}), season {season} ({why}), lookback {lookback}"


def _long_enough(name: str, series: list[Series], horizon: int, lookback: int, notes: Notes) -> list[Series]:
    """Series that hold a window of each split; the others are left out by name."""
    kept = []
    for s in series:
        train, valid = in_order(len(s.values))
        if train >= lookback + horizon and min(valid - train, len(s.values) - valid) >= horizon:
            kept.append(s)
        else:
            notes.refused.append(
                f"{s.name}: {len(s.values):,} steps are too few for lookback {lookback} and horizon {horizon}"
            )
    if not kept:
        raise InputError(
            f"{name}: {max(len(s.values) for s in series):,} steps are too few to train, tune and test with "
            f"lookback {lookback} and horizon {horizon}; shorten these or bring a longer series"
        )
    if len(kept) < len(series):
        notes.warnings.append(f"{len(series) - len(kept):,} of {len(series):,} series are too short and are left out")
    return kept


def _windows(series: list[Series], scaled: list[torch.Tensor], part: int, horizon: int, lookback: int) -> Examples:
    """Windows whose predicted steps lie in this part; a lookback may reach into the part before."""
    starts = []  # (series, first predicted step)
    for i, x in enumerate(scaled):
        train, valid = in_order(len(x))
        low, high = ((lookback, train), (train, valid), (valid, len(x)))[part]
        starts += [(i, t) for t in range(low, high - horizon + 1)]
    starts = starts[:: -(-len(starts) // MOST[part])]
    inputs = [scaled[i][t - lookback : t] for i, t in starts]
    targets = [scaled[i][t : t + horizon] for i, t in starts]
    return Examples(inputs, targets, [f"{series[i].name}:{series[i].when[t]}" for i, t in starts])


def _moments(series: list[Series]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    train = np.concatenate([s.values[: in_order(len(s.values))[0]] for s in series])
    std = train.std(0)
    return tuple(train.mean(0).tolist()), tuple(np.where(std > 0, std, 1.0).tolist())


def _naive(name: str, scaled: list[torch.Tensor], season: int) -> list[float]:
    """Mean |y_t - y_(t-season)| per channel over the training parts: the unit of MASE (Hyndman and Koehler 2006)."""
    apart = [(x[season:] - x[:-season]).abs() for s in scaled if len(x := s[: in_order(len(s))[0]]) > season]
    if not apart:
        raise InputError(f"{name}: season {season} is longer than the training part of every series")
    return [max(v, 1e-8) for v in torch.cat(apart).double().mean(0).tolist()]


def _period(values: np.ndarray) -> int:
    """The lag, 2 .. T/3, at which the first channel agrees best with itself; 1 when none reaches a correlation of 0.3.

    Judged on differences, so that a trend is no season.
    """
    x = np.diff(values[:, 0].astype(np.float64))
    x = x - x.mean() if len(x) else x
    power = float(x @ x)
    if len(x) < 9 or power == 0:
        return 1
    spectrum = np.abs(np.fft.rfft(x, 2 * len(x))) ** 2
    agree = np.fft.irfft(spectrum)[: min(len(x) // 3, 400) + 1] / power
    peaks = [k for k in range(2, len(agree) - 1) if agree[k] >= max(agree[k - 1], agree[k + 1])]
    best = max(peaks, key=lambda k: agree[k], default=1)
    return best if best > 1 and agree[best] > 0.3 else 1


def even(stamps: list[float], calendar: bool) -> tuple[np.ndarray | None, int | None]:
    """(slot of each sorted stamp on an even grid, season of the calendar); slots are None when nine in ten
    steps are not alike. Months, quarters and years count as even."""
    gaps = np.diff(stamps)
    step = float(np.median(gaps))
    if calendar:
        for low, (high, season) in CALENDAR.items():
            if low <= step <= high:
                slots = np.cumsum([0, *np.maximum(1, np.round(gaps / step))]).astype(int)
                return (slots if np.mean((gaps >= low) & (gaps <= high)) >= 0.9 else None), season
    if np.mean(np.abs(gaps - step) <= 1e-6 * step) < 0.9:
        return None, None
    slots = np.round((np.array(stamps) - stamps[0]) / step).astype(int)
    return slots, CYCLES.get(round(step)) if calendar else None


def say_time(stamp: float, calendar: bool) -> str:
    """A time stamp as a person writes it."""
    if not calendar:
        return f"{stamp:g}"
    told = datetime.fromtimestamp(stamp, UTC).replace(tzinfo=None).isoformat()
    return told.removesuffix("T00:00:00")
