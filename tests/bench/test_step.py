"""What a step costs after a long past: which mixers are asked, what is counted, and goals that can be missed."""

from __future__ import annotations

import pytest
import torch

from panformer.bench import step as suite
from panformer.bench.contest import Plan
from panformer.bench.jobs import SDPA
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
    with pytest.MonkeyPatch.context() as small:
        small.setattr(suite, "SMALL", 2**13)
        result = suite.step(Plan(rounds=1, keep=kept.append), JOBS, lengths=(64, 128, 256), width=16, steps=3)
    return result, kept


def test_states_stay_or_grow_as_they_are(run):
    growth = {g["task"]: g for g in run[0]["growth"]}
    assert growth["minGRU"]["state"] == growth["window"]["state"] == 0
    assert growth[SDPA]["state"] == pytest.approx(1, abs=0.1)  # some tokens are steps
    held = {(r["task"], r["length"]): r["state_bytes"] for r in run[0]["rows"]}
    assert held["minGRU", 64] == held["minGRU", 256] == 4 * 16
    assert held[SDPA, 64] >= 2 * 4 * 16 * (64 + 8)  # and the steps that followed


def test_rows_come_by_job_and_length_and_are_kept(run):
    result, kept = run
    some = [(SDPA, n) for n in (64, 128, 256)] + [(j, n) for j in ("minGRU", "window") for n in (64, 128, 256)]
    assert [(r["task"], r["length"]) for r in result["rows"]] == [*some, ("masked", 64)]
    assert [[r["task"] for r in k["rows"]] for k in kept] == [[SDPA], [SDPA] * 2, [SDPA] * 3]  # whose state is large
    assert kept[0]["missing"] == {"the rest": "the run ended at 64 tokens"}
    assert result["missing"].keys() == {"masked"} and "from 128 tokens on: masked_mixer" in result["missing"]["masked"]
    goals = {(g["task"], g["goal"]) for g in result["goals"]}
    assert ("minGRU", "exponent of a step's time, within") in goals
    assert not any(name in (SDPA, "window") and "at most" in says for name, says in goals)


def test_what_a_reader_has_read_is_what_the_whole_has():
    reader = suite.Reader({"use": "min_gru"}, 8)
    assert reader.read(2 * suite.CHUNK + 5) is None
    rng = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(1, n, 8, generator=rng) for n in (suite.CHUNK, suite.CHUNK, 5)], 1)
    with torch.no_grad():
        want = reader.mixer.chunk(x, Layout.dense(1, x.shape[1]), reader.mixer.start(1, x))[1]
    torch.testing.assert_close(reader.state, want)
    decoder = reader.decoder()
    decoder.run(4)
    assert decoder.seen == reader.seen + 5 == 2 * suite.CHUNK + 10
    torch.testing.assert_close(reader.state, want)


def test_a_mixer_that_reads_too_slowly_is_left_out(monkeypatch):
    monkeypatch.setattr(suite, "LONGEST", 0.0)
    result = suite.step(Plan(rounds=1), {SDPA: JOBS[SDPA]}, lengths=(64,), width=16, steps=1)
    assert not result["rows"] and "reading on would take" in result["missing"][SDPA]


def row(name, length, seconds=1e-3, held=64):
    made = suite._row(name, length, Time(seconds, seconds, seconds, 1), None)
    return made if made["task"] else {**made, "task": name, "contestant": "panformer", "state_bytes": held}


@pytest.mark.parametrize(("exponent", "met"), [(0.0, True), (0.09, True), (0.5, False), (-0.5, False)])
def test_a_step_that_is_not_flat_misses_its_goal(exponent, met):
    rows = [row("Mamba", n, 1e-4 * n**exponent) for n in suite.LENGTHS] + [row("transformers, Mamba", 4096, 1.0)]
    goals = suite._goals(rows, suite._growth(rows, {"Mamba": "n"}), {"Mamba"})
    assert [g["met"] for g in goals] == [met, True, True]
    assert goals[0]["reached"] == pytest.approx(exponent, abs=2e-3) and goals[-1]["against"] == "transformers"


def test_a_state_that_grows_and_a_control_that_does_not_miss_theirs():
    rows = [row(task, n, held=n) for task in (SDPA, "minGRU") for n in suite.LENGTHS]
    goals = suite._goals(rows, suite._growth(rows, {SDPA: "n^2", "minGRU": "n"}), {"minGRU"})
    missed = [(g["task"], g["goal"]) for g in goals if not g["met"]]
    control = "exponent of a step's time, the control, at least"
    assert missed == [(SDPA, control), ("minGRU", "exponent of the state's bytes, at most")]


def test_every_mixer_that_streams_is_asked():
    found = suite.streaming(64)
    assert next(iter(found)) == SDPA and "lstm" in found and "Mamba" in found
    asked = {tree["use"] for tree in found.values()}
    sure = {u for u in known("mixers") if find("mixers", u).causal is True and find("mixers", u).streams}
    assert sure - asked == {"identity", "cross_attention"}  # nothing to learn; a memory to read
    assert [suite.Reader(found[n], 64).recurrent for n in (SDPA, "Mamba", "lstm")] == [False, True, True]


def test_it_is_for_a_cpu():
    with pytest.raises(InputError, match="CPU"):
        suite.step(Plan(device="cuda"))
