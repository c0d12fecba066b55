"""What a step costs after a long past: which mixers are asked, what is counted, and goals that can be missed."""

from __future__ import annotations

import pytest
import torch

from panformer.bench import step as suite
from panformer.bench.contest import Plan
from panformer.bench.long import SDPA
from panformer.bench.race import Time
from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import find, known

JOBS = {
    SDPA: {"use": "attention", "heads": 2, "causal": True},
    "minGRU": {"use": "min_gru"},
    "window": {"use": "attention", "heads": 2, "causal": True, "window": 32},
    "masked": {"use": "masked_mixer", "heads": 1, "length": 100},
}


@pytest.fixture(scope="module")
def run():
    kept: list = []
    return suite.step(Plan(rounds=1, keep=kept.append), JOBS, lengths=(64, 128, 256), width=16, steps=3), kept


def test_states_stay_or_grow_as_they_are(run):
    growth = {g["task"]: g for g in run[0]["growth"]}
    assert growth["minGRU"]["state"] == growth["window"]["state"] == 0
    assert growth[SDPA]["state"] == pytest.approx(1, abs=0.1)  # 8 tokens are steps
    held = {(r["task"], r["length"]): r["state_bytes"] for r in run[0]["rows"]}
    assert held["minGRU", 64] == held["minGRU", 256] == 4 * 16
    assert held[SDPA, 64] >= 2 * 4 * 16 * (64 + 8)  # and the steps that followed


def test_rows_come_by_length_and_are_kept(run):
    result, kept = run
    assert [r["length"] for r in result["rows"]] == [64] * 4 + [128] * 3 + [256] * 3
    assert [len(k["rows"]) for k in kept] == [4, 7, 10] and "longer" in kept[0]["missing"]
    assert result["missing"].keys() == {"masked"} and "from 128 tokens on: masked_mixer" in result["missing"]["masked"]
    goals = {(g["task"], g["goal"]) for g in result["goals"]}
    assert ("minGRU", "exponent of a step's time, within") in goals
    assert (SDPA, "exponent of the state's bytes, at most") not in goals


def test_what_a_reader_has_read_is_what_the_whole_has():
    reader = suite.Reader({"use": "min_gru"}, 8)
    assert reader.read(2 * suite.CHUNK + 5) is None
    rng = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(1, n, 8, generator=rng) for n in (suite.CHUNK, suite.CHUNK, 5)], 1)
    with torch.no_grad():
        want = reader.mixer.chunk(x, Layout.dense(1, x.shape[1]), reader.mixer.start(1, x))[1]
    torch.testing.assert_close(reader.state, want)
    reader.run(4)
    assert reader.seen == 2 * suite.CHUNK + 10


def test_a_mixer_that_reads_too_slowly_is_left_out(monkeypatch):
    monkeypatch.setattr(suite, "LONGEST", 0.0)
    result = suite.step(Plan(rounds=1), {SDPA: JOBS[SDPA]}, lengths=(64,), width=16, steps=1)
    assert not result["rows"] and "reading on would take" in result["missing"][SDPA]


@pytest.mark.parametrize(("exponent", "met"), [(0.0, True), (0.09, True), (0.5, False), (-0.5, False)])
def test_a_step_that_is_not_flat_misses_its_goal(exponent, met):
    rows = [
        suite._row("minGRU", who, n, Time(t, t, t, 1), 64 if who == "panformer" else None)
        for n in suite.LENGTHS
        for who, t in (("panformer", 1e-4 * n**exponent), ("transformers", 1.0))
    ]
    goals = suite._goals(rows, suite._growth(rows, {"minGRU": "n"}))
    assert [g["met"] for g in goals] == [met, True] + [True] * len(suite.LENGTHS)
    assert goals[0]["reached"] == pytest.approx(exponent, abs=2e-3) and goals[-1]["against"] == "transformers"


def test_a_state_that_grows_and_a_control_that_does_not_miss_theirs():
    def row(task, n, held):
        return suite._row(task, "panformer", n, Time(1e-3, 1e-3, 1e-3, 1), held)

    rows = [row(task, n, n) for task in (SDPA, "minGRU") for n in suite.LENGTHS]
    goals = suite._goals(rows, suite._growth(rows, {SDPA: "n^2", "minGRU": "n"}))
    missed = [(g["task"], g["goal"].split(",")[0]) for g in goals if not g["met"]]
    assert missed == [
        (SDPA, "exponent of a step's time over the longest pasts"),
        ("minGRU", "exponent of the state's bytes"),
    ]


def test_every_mixer_that_streams_is_asked():
    found = suite.streaming(64)
    assert next(iter(found)) == SDPA and "lstm" in found and "Mamba" in found
    asked = {tree["use"] for tree in found.values()}
    sure = {u for u in known("mixers") if find("mixers", u).causal is True and find("mixers", u).streams}
    assert sure - asked == {u for u in sure if find("mixers", u).needs}


def test_it_is_for_a_cpu():
    with pytest.raises(InputError, match="CPU"):
        suite.step(Plan(device="cuda"))
