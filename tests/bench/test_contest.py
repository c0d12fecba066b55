"""The race machinery, with a peer that has no library behind it."""

from __future__ import annotations

import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from panformer.bench import long, venv
from panformer.bench.contest import OUTSIDE, Contestant, Plan, contest, goal, invite, ours
from panformer.bench.jobs import Job
from panformer.bench.race import Time, relay, timed
from panformer.bench.worker import PeerFault, Worker
from panformer.core.errors import PanformerError

TRUTH = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


@pytest.fixture
def script(tmp_path):
    shutil.copy(OUTSIDE / "peer_serve.py", tmp_path)
    return Path(shutil.copy(Path(__file__).parent / "fake_peer.py", tmp_path))


def raced(script, wanted, seconds=0.0, precision="fp32"):
    missing: dict[str, str] = {}
    plan = Plan(rounds=3, threads=1)
    with ExitStack() as stack:
        racing = [ours(precision, lambda: TRUTH)]
        racing += invite(stack, Path(sys.executable), script, wanted, {"seconds": seconds}, plan, missing)
        rows = contest(
            "job", racing, plan, 2, "things", lambda a, b: {"shift": float((a - b).sum())}, missing, 10.0, {"fp32": 1e3}
        )
    return {f"{r['contestant']} {r['precision']}": r for r in rows}, missing


def test_a_peer_is_compared_timed_and_told(script):
    rows, missing = raced(script, {"slow": ("fp32", "bf16", "int8")}, seconds=0.05)
    assert set(rows) == {"panformer fp32", "slow fp32", "slow bf16"}
    assert missing == {"slow int8": "ValueError: no int8 here"}
    slow = rows["slow fp32"]
    assert slow["error"] == 0 and slow["shift"] == 0 and slow["unit"] == "things/s" and slow["seconds"].rounds == 3
    assert 0.05 <= slow["seconds"].best <= slow["seconds"].median < 1
    assert slow["rate"] == pytest.approx(2 / slow["seconds"].median, rel=1e-2)
    assert slow["share_of_matmul_limit"] == pytest.approx(10 / slow["seconds"].median / 1e3, abs=1e-3)
    assert rows["panformer fp32"]["rate"] > slow["rate"]


def test_an_fp32_peer_with_other_answers_does_not_race(script):
    rows, missing = raced(script, {"liar": ("fp32", "bf16")})
    assert set(rows) == {"panformer fp32", "liar bf16"}
    assert "not the same model" in missing["liar fp32"]
    assert rows["liar bf16"]["error"] == pytest.approx(0.125) and rows["liar bf16"]["shift"] == 0.5


def test_the_long_suite_goes_on_without_a_peer_that_dies(script, monkeypatch, tmp_path):
    shutil.copy(script, tmp_path / "peer_long.py")
    monkeypatch.setattr(long, "OUTSIDE", tmp_path)
    monkeypatch.setattr(long, "prepare", lambda *_: (Path(sys.executable), {}))
    monkeypatch.setattr(long, "PRECISIONS", {"bf16": torch.bfloat16})
    job = Job({"use": "min_gru"}, {"large": ("no requirement", 1.0), "slow": ("no requirement", 1.0)})
    result = long.long(Plan(rounds=1, peers=True), {"minGRU": job}, lengths=(64, 128, 192), width=32)
    found = [(r["contestant"], r["length"]) for r in result["rows"] if r["form"].endswith(", forward")]
    assert found == [("large", 64), ("slow", 64), ("panformer", 64), *((n, m) for m in (128, 192) for n in ("slow", "panformer"))]  # fmt: skip
    lost = {f"large, minGRU, bf16, {way}": "from 128 tokens: ended with code 3: out of memory"
            for way in ("forward", "forward and backward")}  # fmt: skip
    assert result["missing"] == lost


def test_a_peer_that_dies_is_one_line(script):
    with pytest.raises(PanformerError, match=r"bench: dead fp32 gave no answer: ended with code 3: out of memory"):
        raced(script, {"dead": ("fp32",)})


def test_a_worker_that_does_not_answer_is_ended(script):
    with Worker(Path(sys.executable), script, threads=1, patience=2) as worker:
        worker.ask(do="load", library="slow", precision="fp32", seconds=60)
        with pytest.raises(PeerFault, match="no answer within 2 s"):
            worker.ask(do="round", precision="fp32")
    assert worker.process.poll() is not None


def test_a_worker_sees_its_threads_and_not_our_packages(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/ours")
    spy = tmp_path / "spy.py"
    spy.write_text(
        "import json, os, sys\nfor line in sys.stdin:\n"
        "    print(json.dumps({k: os.environ.get(k) for k in ('OMP_NUM_THREADS', 'PYTHONPATH')}), flush=True)\n"
    )
    with Worker(Path(sys.executable), spy, threads=3) as worker:
        assert worker.ask(do="anything") == {"OMP_NUM_THREADS": "3", "PYTHONPATH": None}


def test_peers_import_nothing_of_ours():
    for file in OUTSIDE.glob("*.py"):
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if "import" in line.split()]
        assert lines and not [line for line in lines if "panformer" in line or "from ." in line], file


def test_a_pass_shorter_than_the_pause_wakes_the_machine_first():
    calls = []

    def runner(name, took):
        return lambda: calls.append(name) or took + len(calls) / 1000

    times = relay({"short": runner("short", 0.0), "long": runner("long", 1.0)}, rounds=1, pause=0.02)
    assert calls == ["long", "short", "short", "short", "short", "long"]
    assert times["short"].median == pytest.approx(0.005), "the second pass counts"


def test_relay_takes_turns_and_counts_no_first_round():
    order: list[str] = []

    def runner(name):
        return lambda: order.append(name) or float(len(order))

    times = relay({n: runner(n) for n in "abc"}, rounds=2)
    assert order == [*"cba", *"abc", *"cba"]
    assert times["a"] == Time(6.5, 4.0, 9.0, 2)


def test_timed_is_per_call():
    calls: list[int] = []
    assert timed(lambda: calls.append(1), calls=5)() < 0.1
    assert len(calls) == 5


def test_goals_name_the_fastest_peer():
    def row(name, precision, rate):
        return {"task": "t", "contestant": name, "precision": precision, "rate": rate}

    rows = [row("panformer", "bf16", 30), row("a", "fp32", 10), row("b", "bf16", 20), row("c", "int8", 99)]
    met = goal("g", rows, "bf16", 1.25, ("fp32", "bf16"))
    assert met is not None and (met["reached"], met["against"], met["met"]) == (1.5, "b bf16", True)
    only = goal("g", rows, "bf16", 4, ("fp32", "bf16"), "a")
    assert only is not None and (only["reached"], only["against"], only["met"]) == (3.0, "a fp32", False)
    assert goal("g", rows, "int8", 1, ("int8",)) is None
    assert goal("g", rows, "bf16", 1, ("fp16",)) is None


# ---- the environment


def test_what_is_installed_is_installed_once(tmp_path, monkeypatch):
    asked: list[list[str]] = []

    def fault(command):
        asked.append(list(command))
        if "venv" in command:
            (tmp_path / "panformer/peers/x/bin").mkdir(parents=True)
            (tmp_path / "panformer/peers/x/bin/python").touch()
        return "ERROR: no such thing" if "bad==1" in command else None

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(venv, "_fault", fault)
    said: list[str] = []
    python, failed = venv.prepare("x", ["good==1", "bad==1"], said.append)
    assert python == tmp_path / "panformer/peers/x/bin/python"
    assert failed == {"bad==1": "ERROR: no such thing"}
    assert [[w for w in c if "==" in w] for c in asked[1:]] == [["good==1", "bad==1"], ["good==1"], ["bad==1"]]
    asked.clear()
    assert venv.prepare("x", ["good==1"], said.append)[1] == {} and asked == []
    assert venv.prepare("x", ["good==1", "bad==1"], said.append)[1] == {"bad==1": "ERROR: no such thing"}
    assert all("good==1" not in c for c in asked)
    asked.clear()
    assert venv.prepare("x", ["good==1"], said.append, alone=["part==1"])[1] == {}
    assert [c[-2:] for c in asked] == [["--no-deps", "part==1"]]
    assert venv.prepare("x", ["good==1"], said.append, alone=["part==1"])[1] == {} and len(asked) == 1


def test_a_failed_install_says_pips_last_error():
    why = venv._fault([sys.executable, "-c", "import sys; sys.exit('ERROR: first\\nERROR: no match\\nnotice')"])
    assert why == "ERROR: no match"
    assert venv._fault([sys.executable, "-c", ""]) is None


def test_a_contestant_has_one_name():
    assert Contestant("a", "bf16", lambda: 0.0, lambda: TRUTH).full == "a bf16"
