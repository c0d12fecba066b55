"""An arm against itself: a row for each task of a suite, nothing run twice, and pairs that share the test alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from panformer.compare import plan, report
from panformer.compare.null import _alone, _pairs, null
from panformer.compare.plan import Cell
from panformer.compare.run import Comparison
from panformer.compare.trial import run
from panformer.core.errors import InputError
from panformer.measure.store import FILE, Store


def quiet(line, share):
    pass


def test_an_arm_against_itself_over_a_suite(tmp_path, monkeypatch):
    asked = plan.plans("series", "attention", (), (16,), 3, "parameters", (), 2, None, least=1)
    told = null(asked, tmp_path, "local", 2, quiet, 4)
    assert [r["task"] for r in told["rows"]] == [p.entry.name for p in asked]
    for row in told["rows"]:
        assert row["runs"] == 8 and len(row["gains"]) == 4 and 0 not in row["gains"] and row["steps"] == 2
        assert row["lowest"] <= row["mean"] <= row["highest"]
    assert told["false_wins"] == pytest.approx(sum(r["false_wins"] for r in told["rows"]) / len(asked))
    (path,) = report.write_null(told, tmp_path)
    assert json.loads(path.read_text())["kind"] == "null"
    report.null_terminal(told)
    monkeypatch.setattr(
        "panformer.compare.run.engine", lambda name: lambda todo, *_: iter(pytest.fail(str(todo)) if todo else ())
    )
    assert null(asked, tmp_path, "local", 2, quiet, 4)["rows"] == told["rows"]
    with pytest.raises(InputError, match="--null 2: expected 3"):
        null(asked, tmp_path, "local", 2, quiet, 2)


def test_an_arm_against_itself_has_the_rate_and_the_minutes_that_were_asked_for():
    (asked,) = plan.plans("mqar:vocab=8", "attention,mamba", (2,), (16,), 3, "parameters", (1e-3,), 4, 6.0)
    alone = _alone(asked, 12)
    assert list(alone.arms) == ["attention"] and alone.train.rate == 1e-3
    assert alone.minutes == 6 * 3 / 24, "24 runs take as long as 3 would of these minutes"
    with pytest.raises(InputError, match="one rate"):
        null([replace(asked, rates=(1e-3, 3e-3))], None, "local", 1, quiet, 12)


def test_runs_of_an_arm_against_itself_share_the_test_alone(tmp_path):
    (asked,) = plan.plans("mqar:vocab=8", "attention", (2,), (16,), 3, "parameters", (), 4, None, least=1)
    with Store(tmp_path / FILE) as store:
        made = Comparison(asked, store, "local", 1, quiet)
    for i, (a, b) in enumerate(_pairs(made, "attention", Cell(2, 16), 3)):
        assert (a.test, b.test) == (i, i) and a.seed == i and b.seed != i and a.key != b.key
    one, other = (run(replace(a, test=t)) for t in (0, 7))
    assert one["curve"] == other["curve"] and one["measure"] != other["measure"]
