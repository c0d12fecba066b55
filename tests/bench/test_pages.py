"""The suite of what a person waits for: rows and goals that the page can draw, from real processes and a real store."""

import sqlite3

import pytest

from panformer.atlas import speed
from panformer.bench import pages
from panformer.bench.contest import Plan
from panformer.core.errors import InputError, PanformerError
from panformer.measure.store import Store


@pytest.fixture(scope="module")
def told():
    result = pages.pages(Plan(rounds=1), rows=1000)
    return {**result, "rows": [{**row, "seconds": vars(row["seconds"])} for row in result["rows"]]}


def test_every_promise_has_a_goal(told):
    assert {g["task"] for g in told["goals"]} == {"build the atlas", "start a command", "keep a trial"}
    by = {g["goal"]: g for g in told["goals"]}
    assert {g["wanted"] for g in told["goals"]} == {20, 300, 0.5, 5}
    assert all(g["reached"] > 0 and g["met"] == (g["reached"] <= g["wanted"]) for g in told["goals"])
    assert f"milliseconds to 1,000 rows {pages.BUSY}, at most" in by
    (page,) = (g for name, g in by.items() if name.startswith("KB"))
    assert page["met"] and page["reached"] > 50


def test_the_page_draws_it(told):
    assert len(speed.races(told).rows) == 10 and len(speed.goals(told).rows) == len(told["goals"])


def test_a_filled_store_is_one_that_was_kept_row_by_row(tmp_path):
    with Store(tmp_path / "a.sqlite") as a, Store(tmp_path / "b.sqlite") as b:
        pages.fill(a.path, 3)
        for i in range(3):
            b.keep(f"trial/{i:032x}", "trial", pages.BODY, 5.6)
        assert a.stage("trial") == b.stage("trial") and a.seconds() == b.seconds()
    with pytest.raises(sqlite3.IntegrityError):
        pages.fill(a.path, 1)


def test_pictures_do_not_count():
    assert pages.bare('<p>a</p><svg class="x">\n<path/></svg><img src="data:image/png;base64,AAAA">') == len(
        '<p>a</p><img src="">'
    )


def test_a_command_that_fails_is_told():
    with pytest.raises(PanformerError, match="no-such-command"):
        pages._call(["-m", "panformer", "no-such-command"])()
    with pytest.raises(InputError, match="--device"):
        pages.pages(Plan(device="cuda"))
