"""A check runs from its entry to evidence, with real tiny models."""

import json
import math
import os

import pytest
import torch

from panformer.claims import check, costs, evidence, registry
from panformer.claims.arms import merge, spec_of
from panformer.core.errors import InputError
from panformer.papers import catalogue, schema
from panformer.papers.schema import Change

ENTRY = """
id: 330
claim: "a small test"
model: {width: 16, schedule: [{mixer: {use: attention, heads: 2}, channel: mlp}]}
checks:
  - {judge: equal, fact: mixers.one_head, tolerance: 1.0e-12, control: {with: {repeated: false}}}
  - judge: beats
    task: {use: induction, length: 8, vocab: 4}
    train: {steps: 3, batch: 4}
    change: {model: {position: rope}}
    control: {layers: {mixer: {window: 1}}}
    expect: {margin: 0.5}
  - {judge: costs, cost: parameters, length: 4, control: {layers: {mixer: {kv_heads: 1}}}, expect: {ratio: [1, 2]}}
  - {judge: scales, cost: flops, lengths: [256, 512, 1024, 2048, 4096], expect: {exponent: [0.8, 2.2]}}
"""


@pytest.fixture
def row(tmp_path):
    (tmp_path / "mixers").mkdir()
    (tmp_path / "mixers" / "mamba.yaml").write_text(ENTRY, encoding="utf-8")
    return lambda: catalogue.find("mamba", catalogue.rows(tmp_path))


def test_a_run_leaves_evidence_that_makes_the_row_checked(row, tmp_path):
    said = []
    found = check.check(row(), said.append)
    assert row().status == "built"
    path = evidence.write(found, tmp_path / "evidence")
    assert (row().status, row().verdict) == ("checked", found["verdict"])
    kept = json.loads(path.read_text())
    assert [c["judge"] for c in kept["checks"]] == ["equal", "beats", "costs", "scales"]
    assert [c["verdict"] for c in kept["checks"]][0] == "upheld"
    beats = kept["checks"][1]
    assert beats["seeds"] == [0, 1, 2] and set(beats["specs"]) == {"candidate", "control", "null"}
    assert [len(beats["numbers"][k]) for k in ("candidate", "control", "null")] == [3, 3, 3]
    assert beats["check"]["expect"]["margin"] == 0.5 and beats["backend"] and beats["seconds"] > 0
    assert kept["machine"]["cpu"] and kept["machine"]["threads"] == torch.get_num_threads()
    assert {"python", "torch", "numpy", "panformer", "commit"} <= set(kept["versions"])
    assert kept["command"] == "panformer check mamba" and kept["date"].endswith("+00:00")
    assert any("beats" in line for line in said)


def test_the_same_run_gives_the_same_numbers(row):
    one, two = (check.check(row()) for _ in range(2))
    assert [c["numbers"] for c in one["checks"]] == [c["numbers"] for c in two["checks"]]


def test_training_is_never_a_win_against_itself(tmp_path):
    """A against A with real training: the same spec in both arms, over ten seeds."""
    text = ENTRY.replace("    change: {model: {position: rope}}\n", "").replace("{layers: {mixer: {window: 1}}}", "{}")
    text = text.replace("margin: 0.5", "margin: 0, seeds: 10")
    (tmp_path / "mixers").mkdir()
    (tmp_path / "mixers" / "mamba.yaml").write_text(text, encoding="utf-8")
    entry = catalogue.find("mamba", catalogue.rows(tmp_path)).entry
    bench = check.Bench(entry, lambda line: None)
    out = bench.judge(entry.checks[1])
    assert out.verdict == "inconclusive" and out.interval.mean == 0, out.reason
    null = out.numbers["null"]
    assert null != out.numbers["control"], "the null runs on other seeds"


def test_a_model_is_trained_once_for_tests_at_several_lengths(row, monkeypatch):
    from panformer.claims import run

    trained = []
    plain = run.train_once
    monkeypatch.setattr(run, "train_once", lambda *given: trained.append(given) or plain(*given))
    entry = row().entry
    bench = check.Bench(entry, lambda line: None)
    short, long = (
        entry.checks[1].model_copy(update={"task": {"use": "induction", "length": 8, "vocab": 4, "test": n}})
        for n in (8, 32)
    )
    outs = [bench.judge(one) for one in (short, long)]
    assert len(trained) == 9, "candidate, control and its null over three seeds each"
    assert outs[0].numbers["candidate"] != outs[1].numbers["candidate"]
    alone = check.Bench(entry, lambda line: None).judge(long)
    assert alone.numbers == outs[1].numbers, "a test gives the same numbers whatever was tested before"


def test_a_planned_row_has_nothing_to_run():
    row = next(r for r in catalogue.rows() if r.status == "planned")
    with pytest.raises(InputError, match="planned"):
        check.check(row)


def test_evidence_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    first = evidence.write({"slug": "x", "verdict": "upheld"}, tmp_path)

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="space"):
        evidence.write({"slug": "x", "verdict": "not upheld"}, tmp_path)
    assert json.loads(first.read_text())["verdict"] == "upheld" and list(tmp_path.iterdir()) == [first]


def test_evidence_has_no_numbers_that_json_lacks(tmp_path):
    found = evidence.plain({"a": [math.inf, math.nan, 1.0], "b": (1,)})
    assert found == {"a": ["inf", "nan", 1.0], "b": [1]}
    evidence.write({"slug": "x", **found}, tmp_path)


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--out"):
        evidence.write({"slug": "x"}, tmp_path / "file")


# ---- arms


def test_changes_merge_and_replace():
    base = {"mixer": {"use": "attention", "heads": 4}, "width": 8, "norm": "layer"}
    assert merge(base, {"mixer": {"heads": 2}})["mixer"] == {"use": "attention", "heads": 2}
    assert merge(base, {"mixer": {"use": "mamba"}})["mixer"] == {"use": "mamba"}
    assert merge(base, {"mixer": "fourier"})["mixer"] == "fourier"
    assert merge(base, {"norm": {"eps": 1.0}})["norm"] == {"use": "layer", "eps": 1.0}
    assert "norm" not in merge(base, {"norm": None}) and base["norm"] == "layer"


def test_layers_change_in_stages_and_patterns():
    model = {"schedule": [{"repeat": 2, "mixer": "fourier"}, {"pattern": [{"mixer": "fourier"}, {"channel": "mlp"}]}]}
    spec = spec_of(model, Change(layers={"mixer": "identity"}), {"width": 8})
    assert spec["width"] == 8 and spec["schedule"][0] == {"repeat": 2, "mixer": "identity"}
    assert spec["schedule"][1]["pattern"] == [{"mixer": "identity"}, {"mixer": "identity", "channel": "mlp"}]
    with pytest.raises(InputError, match="schedule"):
        spec_of({"width": 8}, Change(), {})


# ---- facts and costs


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("mixers.one_haed", {}, "did you mean 'mixers.one_head'?"),
        ("mixer.one_head", {}, "did you mean 'mixers'?"),
        ("mixers._mixer", {}, "unknown fact"),
        ("mixers.torch", {}, "unknown fact"),
        ("mixers.one_head", {"haeds": 2}, "did you mean 'heads'?"),
    ],
)
def test_a_wrong_fact_is_told_in_one_line(name, options, says):
    with pytest.raises(InputError) as fault:
        registry.call("facts", name, 0, options)
    assert says in str(fault.value)


SPEC = {**costs.ENDS, "width": 16, "causal": True, "schedule": [{"mixer": {"use": "attention", "heads": 2}}]}


def test_costs_are_measured_on_the_model():
    assert costs.meter("state", SPEC, 10, 3)() == 3 * 10 * (2 * 16 * 4 + 8), "keys, values, and one integer a token"
    assert costs.meter("flops", SPEC, 20, 1)() > costs.meter("flops", SPEC, 10, 1)()
    assert all(costs.meter(cost, SPEC, 8, 1)() > 0 for cost in costs.TIMED)


def test_decoding_a_model_that_cannot_stream_is_refused():
    with pytest.raises(InputError, match="streaming"):
        costs.meter("decode", {**SPEC, "causal": False}, 8, 1)


def test_the_clock_sees_work_that_grows():
    spec = {**SPEC, "schedule": [{"repeat": 2, "mixer": {"use": "attention", "heads": 2}, "channel": "mlp"}]}
    short, long = (costs.meter("train", spec, n, 4) for n in (16, 256))
    assert long() > 2 * short()


# ---- entries of the catalogue


@pytest.mark.parametrize("row", [r for r in catalogue.rows() if r.path], ids=lambda r: r.slug)
def test_every_arm_of_every_entry_builds(row):
    """All specs, tasks, facts and peers that an entry names exist and fit; nothing is trained."""
    from panformer.model.build import build

    assert row.entry is not None, row.fault
    for one in row.entry.checks:
        for change in (getattr(one, name, None) for name in ("change", "control", "floor")):
            if change is None or (getattr(one, "fact", None) and one.judge != "listed"):
                continue
            ends = costs.ENDS
            if getattr(one, "task", None):
                task = registry.task(merge(one.task, change.task))
                ends = task.ends()
                schema.Train.model_validate(merge(one.train.model_dump(), change.train))
            build(spec_of(row.entry.model, change, ends), seed=0)


@pytest.mark.parametrize("row", [r for r in catalogue.rows() if r.path], ids=lambda r: r.slug)
def test_the_quick_identities_of_every_entry_hold(row):
    bench = check.Bench(row.entry, lambda line: None)
    for one in row.entry.checks:
        if one.judge == "equal":
            out = bench.judge(one.model_copy(update={"seeds": 1}))
            assert out.verdict == "upheld", f"{one.fact}: {out.reason}"
