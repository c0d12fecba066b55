"""The main job as a person runs it: real processes, a real interruption, real refusals."""

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from panformer.choose.progress import Progress
from panformer.choose.run import spent
from panformer.cli.main import main
from panformer.core.errors import WriteError
from panformer.measure.store import Store

MINUTES = "1.2"


def call(*args):
    return [sys.executable, "-m", "panformer", *map(str, args)]


def process(*args):
    """A process of its own, as from a shell."""
    return subprocess.run(call(*args), capture_output=True, text=True, timeout=240)


@pytest.fixture
def run(capsys):
    """The same entry point in this process: importing torch again for every refusal would take most of the time."""

    def call(*args):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(list(map(str, args)))
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(args, end.value.code, out, err)

    return call


def choose(files, out, *more):
    options = ("--target", "crop", "--minutes", MINUTES, "--seeds", 2, "--include", "attention,identity", "--seed", 3)
    return ("choose", files / "farm.csv", *options, "--out", out, "--json", *more)


@pytest.fixture(scope="module")
def chosen(files, tmp_path_factory):
    """One finished run: (its folder, its report)."""
    out = tmp_path_factory.mktemp("run") / "farm"
    done = process(*choose(files, out))
    assert done.returncode == 0, done.stderr[-600:]
    return out, json.loads(done.stdout)


def qualities(report):
    """Everything that a resumed run has to reach again."""
    return {
        "outcome": {n: report["outcome"][n] for n in ("winner", "ranking", "compared")},
        "runs": {e["name"]: [(r["valid"], r["test"]) for r in e["runs"]] for e in report["contenders"]},
        "trials": {k: (t["choice"], t["checks"], t["state"]) for k, t in report["search"].items()},
    }  # fmt: skip


def test_the_report_is_complete(chosen):
    out, report = chosen
    kinds = {e["name"]: e["kind"] for e in report["contenders"]}
    assert {"attention", "identity"} >= {n for n, k in kinds.items() if k == "candidate"} > set()
    assert {"majority class", "logistic regression", "LightGBM"} <= set(kinds)
    assert report["outcome"]["winner"] == report["outcome"]["ranking"][0]
    best = max(sum(r["valid"] for r in e["runs"]) / len(e["runs"]) for e in report["contenders"])
    winner = next(e for e in report["contenders"] if e["name"] == report["outcome"]["winner"])
    assert winner["valid"] == pytest.approx(best), "the winner is not the best on validation"
    assert all(e["latency"]["1"]["median"] > 0 and e["size_mb"] > 0 for e in report["contenders"])
    assert winner.get("memory_mb") is None or winner["memory_mb"] >= 0
    names = {p.name for p in out.iterdir()}
    assert {"best", "models", "report.html", "report.json", "results.sqlite", "split.json"} <= names
    assert {"config.json", "model.safetensors", "preparation.json", "README.md", "manifest.json"} <= {
        p.name for p in (out / "best").iterdir()
    }
    assert not [p for p in out.rglob("*") if p.suffix in (".pkl", ".pickle", ".tmp")]


def test_every_mixer_got_the_same_time(chosen):
    _, report = chosen
    plan = report["plan"]["search"]
    firsts = [t for k, t in report["search"].items() if k.endswith("/0")]
    assert {t["mixer"] for t in firsts} == set(plan["mixers"])
    for t in firsts:
        planned = t["pace"]["step"] * t["steps"] + t["pace"]["check"] * len(t["checks"])
        assert planned <= 1.5 * plan["trial"], f"{t['mixer']} was given {planned:.1f} s of {plan['trial']:.1f}"


def test_eval_of_every_model_repeats_the_report(chosen, files, run):
    out, report = chosen
    for entry in report["contenders"]:
        folder = out / "models" / entry["runs"][entry["best"]]["folder"]
        done = run("eval", folder, files / "farm.csv", "--json")
        assert done.returncode == 0, f"{entry['name']}: {done.stderr[-300:]}"
        found = json.loads(done.stdout)
        assert found["value"] == pytest.approx(entry["runs"][entry["best"]]["test"]), entry["name"]
        assert "test split" in found["split"]


def test_predict_answers_every_row(chosen, files, tmp_path, run):
    out, _ = chosen
    done = run("predict", out / "best", files / "farm.csv", "--json", "--out", tmp_path / "answers.jsonl")
    assert done.returncode == 0, done.stderr[-300:]
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 160
    assert {a["label"] for a in answers} <= {"rice", "millet"}
    assert all(sum(a["probabilities"].values()) == pytest.approx(1) for a in answers)
    assert answers[0]["source"].endswith("farm.csv:2")


def test_new_labelled_data_is_measured_whole(chosen, files, tmp_path, run):
    out, _ = chosen
    lines = (files / "farm.csv").read_text().splitlines()
    (tmp_path / "new.csv").write_text("\n".join(lines[:41]) + "\n")
    done = run("eval", out / "best", tmp_path / "new.csv", "--json")
    assert done.returncode == 0, done.stderr[-300:]
    assert (json.loads(done.stdout)["rows"], json.loads(done.stdout)["split"]) == (40, "all rows")


def stopped_at(words, args):
    """Run until a line holds these words, press Ctrl-C a moment later, and return what was said."""
    work = subprocess.Popen(call(*args), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for line in work.stderr:
        if words in line:
            time.sleep(0.4)
            work.send_signal(signal.SIGINT)
            break
    rest = work.communicate(timeout=60)[1]
    assert work.returncode == 130, f"exit {work.returncode} after {words!r}: {rest[-400:]}"
    assert "go on with --resume" in rest


def test_an_interrupted_run_goes_on_to_the_same_result(chosen, files, tmp_path):
    """From the same measured times, stopped in the search and again in a finalist, as from one sitting."""
    out, report = chosen
    again = tmp_path / "farm"
    shutil.copytree(out, again, ignore=shutil.ignore_patterns("best", "report.*", "*-0", "*-1"))
    with sqlite3.connect(again / "results.sqlite") as db:
        db.execute("delete from units where stage in ('search', 'finalists', 'measuring')")
    db.close()
    stopped_at("search, round", choose(files, again, "--resume"))
    stopped_at("finalist: ", choose(files, again, "--resume"))
    assert not (again / "report.json").exists()
    done = process(*choose(files, again, "--resume"))
    assert done.returncode == 0, done.stderr[-600:]
    assert qualities(json.loads(done.stdout)) == qualities(report)


def test_resuming_a_finished_run_repeats_its_report(chosen, files, run):
    out, report = chosen
    done = run(*choose(files, out, "--resume"))
    assert done.returncode == 0, done.stderr[-400:]
    assert json.loads(done.stdout) == report


def test_ctrl_c_before_anything_is_kept(files, tmp_path, run, monkeypatch):
    def pressed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("panformer.choose.run.opened", pressed)
    done = run(*choose(files, tmp_path / "out"))
    assert (done.returncode, done.stderr) == (130, "error: stopped\n")
    assert not list(tmp_path.iterdir())


def test_what_a_kill_left_half_written_goes(chosen, files, tmp_path, run):
    out, _ = chosen
    again = tmp_path / "farm"
    shutil.copytree(out, again)
    left = [again / "models" / ".attention-0.tmp-7-0a", again / ".best.tmp-7-0a", again / "work" / "identity-0"]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{")
    (again / ".report.json.tmp-7").write_text("{")
    assert run(*choose(files, again, "--resume")).returncode == 0
    assert {p.name for p in again.iterdir()} == {p.name for p in out.iterdir()}
    assert {p.name for p in (again / "models").iterdir()} == {p.name for p in (out / "models").iterdir()}


@pytest.mark.parametrize(
    ("place", "stage", "named"),
    [
        ("panformer.choose.report.os.replace", "measuring", "split.json"),
        ("panformer.model.io._write", "baselines", "models/majority-class"),
        ("panformer.choose.memory.save", "measuring", "rows.safetensors"),
        ("panformer.choose.report.os.replace", None, "report.json"),
    ],
)
def test_a_full_disk_is_told_and_a_later_resume_goes_on(chosen, files, tmp_path, run, monkeypatch, place, stage, named):
    out, report = chosen
    again = tmp_path / "farm"
    shutil.copytree(out, again, ignore=shutil.ignore_patterns("best", "report.*"))
    if named == "split.json":
        (again / named).unlink()
    with sqlite3.connect(again / "results.sqlite") as db:
        db.execute("delete from units where stage = ?", (stage,))
    db.close()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(place, full)
        done = run(*choose(files, again, "--resume"))
    said = [line for line in done.stderr.splitlines() if not line.startswith("[")]
    kept = f"what was done is kept in {again}, go on with --resume"
    assert (done.returncode, said) == (
        2,
        [f"error: {again}/{named}: could not write (No space left on device); {kept}"],
    )
    assert not list(again.rglob("*.tmp-*")), "something half-written was left"
    done = run(*choose(files, again, "--resume"))
    assert done.returncode == 0, done.stderr[-400:]
    assert qualities(json.loads(done.stdout))["trials"] == qualities(report)["trials"]
    assert json.loads((again / "split.json").read_text())


def test_a_full_store_is_told(tmp_path):
    with Store(tmp_path / "results.sqlite") as store:
        store._db.execute("pragma max_page_count = 4")
        with pytest.raises(WriteError, match=r"results\.sqlite: could not write"):
            store.put("trial", "search", "x" * 100_000)
        assert store.get("trial") is None


def test_minutes_of_earlier_sittings_are_counted(chosen, capsys):
    out, report = chosen
    assert spent(out) == pytest.approx(sum(report["spent"].values()))
    assert spent(out / "models") == 0, "looking for a store must not make one"
    with Progress(0.5 - spent(out) / 60) as progress:
        progress.say("going on")
    left = int(capsys.readouterr().err.partition("about ")[2].split()[0])
    assert left <= max(0, 30 - spent(out) + 1)


def test_minutes_that_cannot_be_enough_are_refused_before_the_data_is_read(files, tmp_path, run, monkeypatch):
    monkeypatch.setattr("panformer.choose.run.opened", lambda *_: pytest.fail("read"))
    done = run("choose", files / "farm.csv", "--minutes", "0.001", "--out", tmp_path / "out")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    enough = float(done.stderr.split("is too little to try 2 mixers here; try ")[1])
    assert 0.5 < enough < 3


REFUSED = [
    (["--include", "atention"], "did you mean 'attention'"),
    (["--target", "crops"], "crops"),
    (["--minutes", "0"], "minutes"),
    (["--minutes", "0.01"], "too little"),
    (["--max-size-mb", "0.00001"], "over the limit"),
    (["--max-latency-ms", "-1"], "latency_ms"),
    (["--seeds", "0"], "seeds"),
    (["--task", "guess"], "guess"),
    (["--resume"], "no run to resume"),
]


@pytest.mark.parametrize(("more", "says"), REFUSED, ids=[" ".join(m) for m, _ in REFUSED])
def test_bad_calls_leave_nothing_behind(files, tmp_path, run, more, says):
    done = run(*choose(files, tmp_path / "out", *more))
    assert done.returncode == 2, f"exit {done.returncode}: {done.stderr[-300:]}"
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and says in last, last
    assert done.stdout == ""
    assert not list(tmp_path.iterdir()), "something was written"


def test_folders_in_the_way(chosen, files, tmp_path, run):
    out, _ = chosen
    before = sorted(p.name for p in out.iterdir())
    done = run(*choose(files, out))
    assert (done.returncode, "earlier run; go on with --resume" in done.stderr) == (2, True), done.stderr[-300:]
    assert sorted(p.name for p in out.iterdir()) == before
    done = run(*choose(files, out, "--resume", "--seed", "4"))
    assert done.returncode == 2
    assert "begun with other options: seed" in done.stderr
    shutil.copytree(out, tmp_path / "old", ignore=shutil.ignore_patterns("models", "best"))
    with sqlite3.connect(tmp_path / "old" / "results.sqlite") as db:
        db.execute("""update units set body = replace(body, '"format": 1', '"format": 0') where key = 'run'""")
    db.close()
    done = run(*choose(files, tmp_path / "old", "--resume"))
    assert (done.returncode, "begun by another version" in done.stderr) == (2, True), done.stderr[-300:]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    done = run(*choose(files, tmp_path / "mine"))
    assert (done.returncode, [p.name for p in (tmp_path / "mine").iterdir()]) == (2, ["letter.txt"])
    (tmp_path / "file").write_text("")
    assert run(*choose(files, tmp_path / "file")).returncode == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_place_is_told(files, tmp_path, run):
    tmp_path.chmod(0o500)
    done = run(*choose(files, tmp_path / "out"))
    assert (done.returncode, "could not write" in done.stderr) == (2, True)


def test_damaged_models_and_wrong_input(chosen, files, tmp_path, run):
    out, _ = chosen
    for name, damage in (
        ("config.json", "does not match the manifest"), ("preparation.json", "does not match the manifest"),
        ("model.safetensors", "bytes"), ("manifest.json", "manifest.json"),
    ):  # fmt: skip
        broken = tmp_path / name / "best"
        shutil.copytree(out / "best", broken)
        text = (broken / name).read_bytes()
        (broken / name).write_bytes(
            text[:-20] if "bytes" in damage or name == "manifest.json" else text.replace(b"1", b"2", 1)
        )
        done = run("predict", broken, files / "farm.csv")
        assert done.returncode == 2, f"{name}: {done.stderr[-300:]}"
        assert name in done.stderr and damage in done.stderr, done.stderr
    for wrong, says in (
        (files / "notes.csv", "lacks column"),
        (files / "tiles.npz", "tiles.npz"),
        (tmp_path / "no.csv", "no such file"),
    ):
        done = run("predict", out / "best", wrong)
        assert done.returncode == 2, f"{wrong}: {done.stderr[-300:]}"
        assert says in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
