"""The commands as a person types them."""

import json

import pytest
import typer
from typer.testing import CliRunner

from panformer.cli import papers
from panformer.core.errors import InputError
from panformer.papers import catalogue


def run(*args):
    app = typer.Typer(pretty_exceptions_enable=False)
    app.add_typer(papers.app, name="papers")
    app.command()(papers.check)
    return CliRunner().invoke(app, list(args))


def test_json_lists_every_paper():
    found = json.loads(run("papers", "--json").stdout)
    assert len(found) == 448 and [r["id"] for r in found] == list(range(448))
    assert set(found[0]) >= {"id", "area", "slug", "title", "family", "status", "verdict"}
    assert {r["status"] for r in found} <= {"planned", "built", "checked"}


def test_a_query_and_filters_narrow_the_list():
    found = json.loads(run("papers", "rotary", "--area", "foundation", "--json").stdout)
    assert "roformer" in {r["slug"] for r in found} and {r["area"] for r in found} == {"foundation"}
    assert json.loads(run("papers", "list", "--status", "planned", "--json").stdout)


def test_the_table_shows_id_slug_and_title():
    out = run("papers", "--area", "foundation").stdout
    assert "fnet" in out and "FNet: Mixing" in out and "14 papers" in out


@pytest.mark.parametrize("name", ["fnet", "51"])
def test_show_tells_claim_and_checks(name):
    out = run("papers", "show", name).stdout
    assert "FNet" in out and "claim" in out and "equal" in out
    tree = json.loads(run("papers", "show", name, "--json").stdout)
    assert tree["slug"] == "fnet" and tree["entry"]["checks"] and tree["fault"] is None


def test_lengths_tabulate_what_was_tested_longer_than_trained():
    out, tree = run("papers", "lengths").stdout, json.loads(run("papers", "lengths", "--json").stdout)
    for table in tree:
        assert table["lines"] and f"trained at {table['trained']}, tested at" in out


def test_a_planned_paper_shows_its_planned_check():
    row = next(r for r in catalogue.rows() if r.status == "planned")
    out = run("papers", "show", row.slug).stdout
    assert "planned check" in out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("papers", "show", "fnett"), "fnet"),
        (("papers", "--family", "mixer"), "mixers"),
        (("papers", "--area", "base"), "known"),
        (("papers", "--status", "done"), "planned"),
        (("check",), "SLUG"),
        (("check", "fnet", "--family", "mixers"), "SLUG"),
        (("check", "nosuch-paper-at-all"), "unknown paper"),
        (("check", "--family", "surveys"), "no built paper"),
        (("check", "poly-encoders"), "planned"),
    ],
)
def test_bad_input_is_one_line(args, says):
    fault = run(*args).exception
    assert isinstance(fault, InputError) and fault.exit_code == 2
    assert says in str(fault) and "\n" not in str(fault), str(fault)


@pytest.mark.parametrize(
    "args", [("papers", "--help"), ("papers", "list", "--help"), ("papers", "show", "--help"), ("check", "--help")]
)
def test_help_has_an_example(args):
    out = run(*args)
    assert out.exit_code == 0 and "xample" in out.stdout
