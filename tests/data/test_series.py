"""Series: windows are split by time, gaps are filled and said, forecasts come back in units."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from panformer.core.errors import InputError
from panformer.data.base import Dataset
from panformer.data.open import open_data, records
from panformer.data.prepare import load_prepare
from panformer.data.series import carry, even

START = datetime(2023, 1, 1, tzinfo=UTC)
HOURS = [(START + timedelta(hours=i)).isoformat() for i in range(600)]
WAVE = np.round(5 + np.sin(np.arange(600) * 2 * np.pi / 24) + 0.01 * np.arange(600), 4)


def wide(tmp_path: Path, name: str = "s.csv", skip: tuple[int, ...] = (), order: int = 1) -> str:
    rows = [f"{HOURS[i]},{WAVE[i]},{-2 * WAVE[i]}\n" for i in range(600) if i not in skip]
    (tmp_path / name).write_text("when,load,heat\n" + "".join(rows[::order]))
    return str(tmp_path / name)


def test_a_wide_table_with_dates_is_forecasting(tmp_path: Path) -> None:
    data = open_data(wide(tmp_path))
    task = data.task
    assert (task.kind, task.measure, task.columns, task.channels) == ("forecasting", "mase", ("load", "heat"), 2)
    assert (task.season, task.horizon, task.max_length) == (24, 24, 72)
    assert any("'when' holds evenly spaced times" in w for w in data.facts["why"])
    assert data.train.inputs[0].shape == (72, 2)
    assert data.train.targets[0].shape == (24, 2)


def test_windows_are_split_by_time_and_target_follows_input(tmp_path: Path) -> None:
    data = open_data(wide(tmp_path), horizon=5, lookback=12)
    std, mean = np.array(data.prepare.input.std), np.array(data.prepare.input.mean)
    last = -1
    for part in (data.train, data.valid, data.test):
        first = [_hour(s) for s in part.source]
        assert min(first) > last, "a split begins before the one before it ends"
        last = max(first) + 5 - 1
        for i in (0, len(part) // 2, len(part) - 1):
            x, y = part.inputs[i].numpy() * std + mean, part.targets[i].numpy() * std + mean
            assert np.allclose(x[:, 0], WAVE[first[i] - 12 : first[i]], atol=1e-4)
            assert np.allclose(y[:, 1], -2 * WAVE[first[i] : first[i] + 5], atol=1e-4)
    assert last == 599
    assert len(data.train) == 420 - 12 - 5 + 1


def _hour(source: str) -> int:
    told = source.partition(".csv:")[2]
    return round((datetime.fromisoformat(told).replace(tzinfo=UTC) - START).total_seconds() / 3600)


def test_standardised_on_the_training_part_only(tmp_path: Path) -> None:
    data = open_data(wide(tmp_path), target="load")
    assert data.prepare.input.mean[0] == pytest.approx(WAVE[:420].mean())
    assert data.prepare.input.std[0] == pytest.approx(WAVE[:420].std())
    naive = np.abs(WAVE[24:420] - WAVE[:396]).mean() / WAVE[:420].std()
    assert data.facts["naive_mae"][0] == pytest.approx(naive, rel=1e-4)


def test_named_targets_are_the_channels(tmp_path: Path) -> None:
    assert open_data(wide(tmp_path), target="heat").task.columns == ("heat",)
    assert open_data(wide(tmp_path), target="heat, load").task.columns == ("heat", "load")


def test_absent_steps_are_inserted_and_said(tmp_path: Path) -> None:
    whole, holes = open_data(wide(tmp_path, "a.csv")), open_data(wide(tmp_path, "b.csv", skip=(50, 51, 300)))
    assert len(whole.train) == len(holes.train)
    assert any("3 steps are absent (first after 2023-01-03T01:00:00)" in w for w in holes.facts["warnings"])
    assert any("'load' lacks 3 of 600" in w and "2023-01-03T02:00:00" in w for w in holes.facts["warnings"])


def test_rows_in_another_order_are_sorted_and_said(tmp_path: Path) -> None:
    straight, turned = open_data(wide(tmp_path, "a.csv")), open_data(wide(tmp_path, "b.csv", order=-1))
    assert torch.equal(straight.train.inputs[3], turned.train.inputs[3])
    assert any("not in order of 'when'" in w for w in turned.facts["warnings"])


def test_half_empty_and_constant_channels_are_left_out(tmp_path: Path) -> None:
    rows = [f"{HOURS[i]},{WAVE[i]},7,{'' if i % 3 else 4 + i}\n" for i in range(600)]
    (tmp_path / "s.csv").write_text("when,load,flat,rare\n" + "".join(rows))
    data = open_data(str(tmp_path / "s.csv"))
    assert data.task.columns == ("load",)
    assert any("'flat'" in w for w in data.facts["warnings"])
    assert any("'rare' lacks 67%" in w for w in data.facts["warnings"])


def test_a_late_start_is_cut_and_said(tmp_path: Path) -> None:
    rows = [f"{HOURS[i]},{'' if i < 10 else WAVE[i]}\n" for i in range(600)]
    (tmp_path / "s.csv").write_text("when,load\n" + "".join(rows))
    assert any("first 10 steps" in r for r in open_data(str(tmp_path / "s.csv")).refused)


def test_uneven_times_are_warned_of_when_asked_and_rows_otherwise(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    when = [(START + timedelta(hours=float(h))).isoformat() for h in np.cumsum(rng.exponential(2, 300))]
    (tmp_path / "s.csv").write_text("when,load\n" + "".join(f"{w},{v}\n" for w, v in zip(when, WAVE, strict=False)))
    assert open_data(str(tmp_path / "s.csv"), target="load").task.kind == "regression"
    data = open_data(str(tmp_path / "s.csv"), target="load", task="forecasting")
    assert any("not evenly spaced" in w for w in data.facts["warnings"])


def long(tmp_path: Path, name: str, shift: int, ids: str = "abc", count: int = 120) -> str:
    rows = [
        f"{key},{HOURS[i + shift * k]},{WAVE[i] * (k + 1) + i % 5}\n" for k, key in enumerate(ids) for i in range(count)
    ]
    (tmp_path / name).write_text("shop,when,sales\n" + "".join(rows))
    return str(tmp_path / name)


def test_long_format_with_common_times_is_one_series(tmp_path: Path) -> None:
    data = open_data(long(tmp_path, "l.csv", 0))
    assert data.task.columns == ("a", "b", "c")
    assert data.facts["series"] == 1
    _, record = next(records(long(tmp_path, "n.csv", 0), data.prepare))
    assert record.shape == (data.task.max_length, 3)
    assert np.allclose(record[-1], [WAVE[119] * k + 119 % 5 for k in (1, 2, 3)])
    with pytest.raises(InputError, match=r"n\.csv: holds series 'a', 'b'; the model reads 'a', 'b', 'c'"):
        list(records(long(tmp_path, "n.csv", 0, "ab"), data.prepare))


def test_long_format_with_other_times_is_many_series(tmp_path: Path) -> None:
    data = open_data(long(tmp_path, "l.csv", 7))
    assert (data.task.columns, data.facts["series"]) == (("sales",), 3)
    assert {s.partition(":")[0] for s in data.test.source} == {"a", "b", "c"}
    found = dict(records(long(tmp_path, "n.csv", 7, "xyz"), data.prepare))
    assert set(found) == {"x", "y", "z"}, "series never seen can be forecast"


def test_long_format_needs_no_luck_with_short_new_files(tmp_path: Path) -> None:
    data = open_data(long(tmp_path, "l.csv", 7), lookback=6, horizon=2)
    assert len(list(records(long(tmp_path, "n.csv", 7, "vwxyz", count=6), data.prepare))) == 5


def test_short_series_are_left_out_by_name(tmp_path: Path) -> None:
    path = Path(long(tmp_path, "l.csv", 7))
    path.write_text(path.read_text() + "".join(f"tiny,{HOURS[i]},{i % 3}\n" for i in range(8)))
    data = open_data(str(path))
    assert any(r.startswith("tiny: 8 steps are too few") for r in data.refused)
    assert data.facts["series"] == 3


def test_new_series_continue_and_come_back_in_units(tmp_path: Path) -> None:
    data = open_data(wide(tmp_path))
    prepare = load_prepare(json.loads(json.dumps(data.prepare.dump())))
    assert prepare == data.prepare
    ((_, record),) = records(wide(tmp_path, "n.csv"), prepare)
    x = prepare.encode(record)
    assert x.shape == (72, 2)
    answer = prepare.decode(x)
    assert answer["channels"] == ["load", "heat"]
    assert np.allclose(np.array(answer["values"])[:, 0], WAVE[-72:], atol=1e-4)


def test_arrays_without_labels_are_series(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.stack([WAVE, WAVE[::-1]], 1))
    data = open_data(str(tmp_path / "s.npy"))
    assert (data.task.kind, data.task.columns) == ("forecasting", ("x0", "x1"))
    assert data.task.season == 24, "the period is found in the numbers"
    ((_, record),) = records(str(tmp_path / "s.npy"), data.prepare)
    assert np.array_equal(record[-1], [WAVE[-1], WAVE[0]])


def test_a_table_of_numbers_with_a_horizon_counts_its_rows(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("a,b\n" + "".join(f"{v},{i * i % 13}\n" for i, v in enumerate(WAVE)))
    data = open_data(str(tmp_path / "s.csv"), horizon=6)
    assert (data.task.kind, data.task.horizon, data.task.columns) == ("forecasting", 6, ("a", "b"))
    ((_, record),) = records(str(tmp_path / "s.csv"), data.prepare)
    assert record.shape == (data.task.max_length, 2)


def test_max_rows_keeps_the_last_steps(tmp_path: Path) -> None:
    data: Dataset = open_data(wide(tmp_path), max_rows=200)
    assert data.facts["rows"]["used"] == 200
    assert _hour(data.test.source[-1]) + data.task.horizon - 1 == 599


def test_gaps_are_carried_forward() -> None:
    x = np.array([[np.nan, 1], [2, np.nan], [np.nan, np.nan], [3, 4]])
    assert np.array_equal(carry(x), [[np.nan, 1], [2, 1], [2, 1], [3, 4]], equal_nan=True)


@pytest.mark.parametrize(
    ("steps", "season"),
    [
        ([31, 28, 31, 30, 31, 30, 31, 31], 12),
        ([90, 91, 92, 92, 90], 4),
        ([365, 365, 366, 365], 1),
        ([1] * 20, 7),
        ([7] * 9, 52),
    ],
    ids=["months", "quarters", "years", "days", "weeks"],
)
def test_calendar_steps_count_as_even(steps: list[int], season: int) -> None:
    slots, found = even((86_400.0 * np.cumsum([0, *steps])).tolist(), True)
    assert slots is not None
    assert slots.tolist() == list(range(len(steps) + 1))
    assert found == season
