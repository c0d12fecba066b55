"""Comparisons: equal budgets, the same answers from every engine, trials kept over kills, verdicts that can be trusted."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from panformer.compare import engines, judge, plan, report
from panformer.compare.plan import Cell
from panformer.compare.run import Comparison, compare
from panformer.compare.trial import run
from panformer.core.errors import InputError, PanformerError
from panformer.measure.cost import parameters
from panformer.measure.store import FILE, Store
from panformer.model.build import build

WITH = "attention,linear_attention:feature=elu"
PROGRAM = "import sys; from panformer.cli.main import main; main(sys.argv[1:])"


def quiet(line, share):
    pass


def tiny(with_=WITH, by="parameters", rates=(3e-3,), seeds=2, steps=4, sizes=(16,), lengths=(2,), minutes=None, task="mqar:vocab=8"):  # fmt: skip
    (found,) = plan.plans(task, with_, lengths, sizes, seeds, by, rates, steps, minutes)
    return replace(found, train=found.train.model_copy(update={"batch": 4}))


def bare(record):
    """What must not depend on who ran it."""
    return [[t[k] for k in ("arm", "length", "size", "seed", "rate", "tuning", "measure", "steps", "parameters", "flops")]
            for t in record["trials"]]  # fmt: skip


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    (record,) = compare([tiny(rates=(1e-3, 3e-3), lengths=(2, 3))], folder, "local", 2, quiet)
    return record, folder


def test_a_record_holds_every_trial_and_what_follows_from_it(compared):
    record, folder = compared
    assert [a["name"] for a in record["arms"]] == WITH.split(",")
    judged = [t for t in record["trials"] if not t["tuning"]]
    assert len(judged) == 2 * 2 * 2 and len(record["trials"]) == 16  # arms x lengths x seeds; as many rates
    assert {t["seed"] for t in record["trials"] if t["tuning"]} == {plan.TUNED_ON} and {t["seed"] for t in judged} == {
        0,
        1,
    }
    assert len(record["summary"]) == 4 and len(record["pairs"]) == 2
    for row in record["summary"]:
        got = [t["measure"] for t in judged if (t["arm"], t["length"]) == (row["arm"], row["length"])]
        assert row["mean"] == pytest.approx(sum(got) / 2) and row["low"] <= row["mean"] <= row["high"]
        assert row["latency_ms"] > 0 and row["peak_bytes"] > 0 and row["seconds"] > 0
    paths = report.write([record], folder)
    assert json.loads(paths[0].read_text())["pairs"] == record["pairs"]
    assert {p.name for p in folder.glob("*.svg")} == {"record-quality.svg", "record-cost.svg"}
    report.terminal(record)


def test_one_training_is_judged_at_every_length_of_the_test(tmp_path):
    with Store(tmp_path / FILE) as store:
        record = Comparison(replace(tiny(rates=(1e-3, 3e-3)), tests=(2, 4)), store, "local", 1, quiet).run()
    judged = [t for t in record["trials"] if not t["tuning"]]
    assert record["trained"] == 2 and record["lengths"] == [2, 4] == sorted({t["length"] for t in judged})
    assert len(judged) == 2 * 2 * 2 and len({t["seconds"] for t in judged}) == 2 * 2  # arms x seeds are trained
    assert {t["length"] for t in record["trials"] if t["tuning"]} == {2}
    at = {(t["arm"], t["length"]): t for t in judged if t["seed"] == 0}
    assert at["attention", 2]["flops"] == at["attention", 4]["flops"], "training is what it was"
    assert at["attention", 2]["peak_bytes"] < at["attention", 4]["peak_bytes"]
    report.write([record], tmp_path)
    report.terminal(record)


def test_the_same_command_runs_nothing_again(compared, monkeypatch):
    record, folder = compared
    monkeypatch.setattr(
        "panformer.compare.run.engine", lambda name: lambda todo, *_: iter(pytest.fail(str(todo)) if todo else ())
    )
    (again,) = compare([tiny(rates=(1e-3, 3e-3), lengths=(2, 3))], folder, "local", 2, quiet)
    assert bare(again) == bare(record)


def test_a_trial_is_a_function_of_what_it_is_told(tmp_path):
    with Store(tmp_path / FILE) as store:
        made = Comparison(tiny(), store, "local", 1, quiet)
    one = made.trial(("attention", Cell(2, 16)), made.plan.train, 0)
    first, second, other = run(one), run(one), run(replace(one, seed=1))
    same = ("measure", "parameters", "curve", "spec_hash")
    assert [first[k] for k in same] == [second[k] for k in same] and first["curve"] != other["curve"]
    assert one.key == replace(one).key and one.key != replace(one, seed=1).key


def test_ray_gives_what_processes_give(compared, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed")
    record, _ = compared
    (ours,) = compare([tiny(rates=(1e-3, 3e-3), lengths=(2, 3))], tmp_path, "ray", 2, quiet)
    assert bare(ours) == bare(record) and ours["engine"] == "ray"


# ---- equal budgets


def test_equal_parameters_change_the_width(tmp_path):
    asked = tiny("attention,mamba2", sizes=(32,))
    with Store(tmp_path / FILE) as store:
        made = Comparison(asked, store, "local", 1, quiet)
    cell = Cell(2, 32)
    counts = [parameters(build(made.specs[arm, cell], seed=0)) for arm in asked.arms]
    assert abs(counts[1] / counts[0] - 1) <= plan.CLOSE
    assert made.specs["mamba2", cell]["width"] != 32 and len({t.steps for t in made.trains.values()}) == 1


def test_equal_operations_change_the_steps(tmp_path):
    asked = tiny("attention,mamba2", by="flops", steps=1000)
    with Store(tmp_path / FILE) as store:
        made = Comparison(asked, store, "local", 1, quiet)
    cell = Cell(2, 16)
    spent = [made._flops(arm, cell) * made.trains[arm, cell].steps for arm in asked.arms]
    assert spent[1] == pytest.approx(spent[0], rel=0.01) and made.trains["mamba2", cell].steps != 1000
    assert made.specs["mamba2", cell]["width"] == 16


def test_equal_time_changes_the_steps_by_a_pace_that_is_kept(tmp_path):
    asked = tiny("attention,mamba2", by="time", steps=1000, minutes=0.01)
    with Store(tmp_path / FILE) as store:
        made = Comparison(asked, store, "local", 1, quiet)
        again = Comparison(asked, store, "local", 1, quiet)
        pace = [store.get(k) for k in store.stage("pace")]
    assert made.trains == again.trains and len(pace) == 2
    steps = [made.trains[arm, Cell(2, 16)].steps for arm in asked.arms]
    assert steps[0] * pace[0] == pytest.approx(steps[1] * pace[1], rel=0.2)
    assert 2 * sum(n * p for n, p in zip(steps, pace)) == pytest.approx(0.6, rel=0.3)  # two seeds of each, in 0.6 s


# ---- many processes, and ends that nobody asked for


def command(folder, *more):
    asked = [
        "compare",
        "mqar:vocab=8",
        "--with",
        WITH,
        "--lengths",
        "2",
        "--sizes",
        "16",
        "--seeds",
        "3",
        "--rates",
        "3e-3",
    ]
    return [sys.executable, "-c", PROGRAM, *asked, "--out", str(folder), "--workers", "1", *more]


def trials(folder):
    if not (folder / FILE).is_file():
        return 0
    with Store(folder / FILE) as store:
        return len(store.stage("trial"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_ended_goes_on_where_it_stood(tmp_path, number):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    began = subprocess.Popen(command(tmp_path, "--steps", "30"), stderr=subprocess.PIPE, text=True, env=env)
    until = time.monotonic() + 120
    while trials(tmp_path) < 2 and time.monotonic() < until and began.poll() is None:
        time.sleep(0.05)
    began.send_signal(number)
    said = began.communicate(timeout=60)[1]
    kept = trials(tmp_path)
    assert 2 <= kept < 6, said
    if number == signal.SIGINT:
        assert began.returncode == 130 and "the same command goes on" in said
    done = subprocess.run(
        command(tmp_path, "--steps", "30", "--json"), capture_output=True, text=True, timeout=120, env=env
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("seed ") == 6 - kept
    (record,) = json.loads(done.stdout)
    assert len(record["trials"]) == 6 and record["command"].startswith("panformer compare mqar")


def test_several_processes_write_one_store(tmp_path):
    writer = (
        "import sys; from pathlib import Path; from panformer.measure.store import Store\n"
        "with Store(Path(sys.argv[1])) as s:\n"
        "    for i in range(100):\n"
        "        s.keep(f'own/{sys.argv[2]}/{i}', 'trial', i); s.keep(f'shared/{i}', 'trial', i)\n"
    )
    path = tmp_path / FILE
    Store(path).__exit__()
    running = [subprocess.Popen([sys.executable, "-c", writer, str(path), str(n)]) for n in range(4)]
    assert [p.wait(60) for p in running] == [0] * 4
    with Store(path) as store:
        found = store.stage("trial")
    assert len(found) == 4 * 100 + 100 and all(v == int(k.rpartition("/")[2]) for k, v in found.items())


def test_a_fault_of_a_trial_is_told(tmp_path):
    with Store(tmp_path / FILE) as store:
        made = Comparison(tiny(), store, "local", 1, quiet)
    fine = made.trial(("attention", Cell(2, 16)), made.plan.train.model_copy(update={"steps": 10**9}), 0)
    wrong = replace(fine, task={"use": "mqar", "vocab": 2})
    with pytest.raises(InputError, match="vocab"):
        list(engines.local([wrong, fine], 2))
    assert not multiprocessing.active_children(), "what no longer counts is not trained to its end"


def test_a_process_that_is_killed_is_told_with_what_to_do(tmp_path):
    with Store(tmp_path / FILE) as store:
        made = Comparison(tiny(), store, "local", 1, quiet)
    endless = made.trial(("attention", Cell(2, 16)), made.plan.train.model_copy(update={"steps": 10**9}), 0)

    def kill():
        while not (found := multiprocessing.active_children()):
            time.sleep(0.01)
        found[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(PanformerError, match="fewer --workers"):
        list(engines.local([endless], 1))
    killer.join()


def test_an_arm_of_another_name_has_costs_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("panformer.compare.run.LATENCY", 0.01)
    with Store(tmp_path / FILE) as store:
        for name in ("one", "other"):
            (tmp_path / f"{name}.yaml").write_text("layers: {mixer: min_gru}")
            made = Comparison(tiny(f"attention,{tmp_path / name}.yaml"), store, "local", 1, quiet)
            assert set(made._costs(Cell(2, 16))) == {"attention", name}


def test_the_pace_of_a_task_is_not_that_of_another_of_the_same_ends(tmp_path):
    with Store(tmp_path / FILE) as store:
        for task in ("selective-copy:symbols=2", "selective-copy:symbols=40"):
            Comparison(tiny(by="time", lengths=(60,), task=task), store, "local", 1, quiet)
        assert len(store.stage("pace")) == 4


# ---- what may be said


def test_pairs_are_told_apart_by_corrected_tests():
    values = {
        "high": [0.9, 0.91, 0.92, 0.9, 0.91],
        "low": [0.5, 0.52, 0.5, 0.51, 0.5],
        "same": [0.5, 0.5, 0.52, 0.5, 0.51],
    }
    found = {(p["a"], p["b"]): p for p in judge.pairs(values, False, 1e-3)}
    assert found["high", "low"]["verdict"] == found["high", "same"]["verdict"] == "high ahead"
    assert found["low", "same"]["verdict"] == "not told apart"
    assert judge.pairs(values, True, 1e-3)[0]["verdict"] == "low ahead"
    by_p = sorted(found.values(), key=lambda p: p["p"])
    assert by_p[0]["p_holm"] == 3 * by_p[0]["p"] and by_p[1]["p_holm"] == max(3 * by_p[0]["p"], 2 * by_p[1]["p"])


def test_equal_gains_of_one_answer_are_no_win():
    (pair,) = judge.pairs({"a": [0.51] * 3, "b": [0.50] * 3}, False, 0.02)
    assert pair["p"] == judge.least_p(3) < 0.05 and pair["verdict"] == "not told apart"


def test_a_run_that_diverged_has_no_mean_and_wins_nothing():
    values = {"a": [0.9, None, 0.9], "b": [0.1, 0.1, 0.1]}
    a, b = judge.summary(values, False, 0.0)
    assert (a["mean"], a["diverged"], a["rank"], b["rank"]) == (None, 1, None, 1)
    assert judge.pairs(values, False, 0.0)[0]["verdict"] == "not told apart"


def test_false_wins_of_noise_are_rare_and_of_a_careless_verdict_are_not(monkeypatch):
    import numpy as np

    gains = np.random.default_rng(0).normal(size=20).tolist()
    assert judge.false_wins(gains, 5, 0.0) <= 0.05
    monkeypatch.setattr(judge, "_verdict", lambda told: "a ahead" if told["gain"] > 0.3 else "not told apart")
    assert judge.false_wins(gains, 5, 0.0) > 0.1
