"""What each choice inside a layer costs: which choices are raced, against what, and goals that can be missed."""

from __future__ import annotations

import pytest
import torch

from panformer.bench import layer as suite
from panformer.bench.contest import Plan
from panformer.bench.race import Time
from panformer.core.errors import InputError
from panformer.core.part import known

CHOICES = [
    suite.Choice("positions", {"use": "learned"}),
    suite.Choice("positions", {"use": "alibi"}),
    suite.Choice("positions", {"use": "relative_grid", "grid": [4, 4]}),
    suite.Choice("norms", {"use": "rms"}),
    suite.Choice("channels", {"use": "pointwise"}),
    suite.Choice("linears", {"use": "hashed_tables", "bits": 4}),
]


@pytest.fixture(scope="module")
def run():
    kept: list = []
    refused = suite.Choice("positions", {"use": "learned", "length": 8})
    return suite.layer(Plan(rounds=1, keep=kept.append), [*CHOICES, refused], width=32, grid=(4, 4)), kept


def test_every_part_beside_the_mixer_is_a_choice_that_builds():
    names = {c.name for c in suite.every()}
    for family in ("positions", "norms", "residuals", "channels"):
        assert {f"{family} {u}" for u in known(family) if u != "none"} <= names
    assert set(suite.PEERS) <= names and {f"linears hashed_tables, {b} bits" for b in (4, 8)} <= names
    for choice in suite.every():
        made = suite.built(choice, 64, suite.GRID, not choice.lattice)
        assert made(torch.randn(1, 512, 64)).shape == (1, 512, 64), choice.name


def test_every_choice_is_raced_in_every_form_and_kept(run):
    told, kept = run
    assert len(told["rows"]) == len(CHOICES) * len(suite.FORMS) and len(kept) == len(CHOICES)
    assert [len(k["rows"]) for k in kept] == [4 * (i + 1) for i in range(len(CHOICES))]
    assert "positions learned" in told["missing"], "one that is too short is named"
    assert all(r["over_plain"] > 0 and r["plain"].rounds == 1 for r in told["rows"])


def test_operations_are_those_of_the_layer(run):
    counted = {r["task"]: r["operations_over_plain"] for r in run[0]["rows"]}
    assert counted["norms rms"] == pytest.approx(1, abs=0.01)
    assert counted["channels pointwise"] < 0.6 and counted["linears hashed_tables, 4 bits"] < 0.6


def test_what_a_mechanism_demands_is_told_and_not_held_to_the_plain_layer(run):
    rows = {r["task"]: r["demands"] for r in run[0]["rows"]}
    held = {g["task"] for g in run[0]["goals"] if g["wanted"] == round(1 / suite.MOST, 3)}
    assert rows["positions alibi"] and rows["positions learned"] is None
    assert held == {"positions learned", "norms rms"}
    assert suite.Choice("norms", {"use": "group"}).demands is None, "a norm's name is no kind of position"


def test_goals_can_be_missed():
    def row(task, who, seconds, counted=1.0):
        took = Time(seconds, seconds, seconds, 5)
        choice = suite.Choice(*[task.split()[0], {"use": task.split()[1]}])
        return suite._row(choice, who, "fp32, forward", took, Time(1.0, 1.0, 1.0, 5), counted, 512)

    goals = suite._goals([
        row("positions rope", "panformer", 1.04), row("positions rope", "transformers", 1.1),
        row("norms rms", "panformer", 1.06), row("norms rms", "torch", 1.0),
        row("channels product_key_experts", "panformer", 2.0, 0.5), row("channels glu", "panformer", 2.0),
    ])  # fmt: skip
    met = {(g["task"], g["against"]): g["met"] for g in goals}
    assert met == {
        ("positions rope", "the plain layer"): True, ("positions rope", "transformers"): True,
        ("norms rms", "the plain layer"): False, ("norms rms", "torch"): False,
        ("channels product_key_experts", "the plain layer"): False,
    }  # fmt: skip


def test_a_card_is_refused():
    with pytest.raises(InputError, match="leave --device out"):
        suite.layer(Plan(device="cuda"), [])
