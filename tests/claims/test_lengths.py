"""One table and one picture of what was tested longer than trained, from evidence alone."""

import json
import math

import pytest

from panformer.core.errors import InputError
from panformer.papers import catalogue
from panformer.papers.lengths import Seeds, compared, overview, tables

ENTRY = """
id: {id}
claim: "a test"
model: {{width: 16, position: {position}, schedule: [{{repeat: 2, mixer: {{use: attention, heads: 2}}}}]}}
checks:
  - judge: beats
    task: {{use: text, length: 64, test: {test}}}
    train: {{steps: {steps}, batch: 4}}
    control: {{model: {{position: alibi}}}}
    expect: {{margin: 0}}
  - {{judge: equal, fact: mixers.one_head, tolerance: 1.0e-9}}
"""


def put(folder, slug, values, steps=5, **told):
    (folder / "positions").mkdir(exist_ok=True)
    (folder / "evidence").mkdir(exist_ok=True)
    (folder / "positions" / f"{slug}.yaml").write_text(ENTRY.format(steps=steps, **told))
    entry = catalogue.find(slug, catalogue.rows(folder)).entry
    numbers = [dict(zip(("candidate", "control"), values, strict=True)), {}]
    checks = [
        {"check": one.model_dump(mode="json", by_alias=True, exclude_defaults=True), "numbers": n}
        for one, n in zip(entry.checks, numbers, strict=True)
    ]
    found = {"verdict": "upheld", "checks": checks, "spec_hash": entry.spec_hash, "claim_hash": entry.claim_hash}
    (folder / "evidence" / f"{slug}.json").write_text(json.dumps(found))


@pytest.fixture
def rows(tmp_path):
    put(tmp_path, "fire", ([1.0, 3.0], [4.0, 4.0]), id=157, position="{use: fire, threshold: 64}", test=256)
    put(tmp_path, "roformer", ([5.0, 7.0], [4.0, 4.0]), id=249, position="rope", test=128)
    put(tmp_path, "nope", ([5.0, 7.0], [4.0, 4.0]), id=245, position="none", test=32)
    return lambda: catalogue.rows(tmp_path)


def test_positions_that_train_alike_share_a_table(rows):
    (one,) = tables(rows())
    assert one.tests == [128, 256] and (one.trained, one.width, one.layers) == (64, 16, (2,))
    means = {arm: {n: seeds.mean for n, seeds in line.items()} for arm, line in one.lines.items()}
    assert means == {"fire (threshold 64)": {256: 2.0}, "rope": {128: 6.0}, "alibi": {128: 4.0, 256: 4.0}}
    assert one.papers == {"fire", "roformer"}, "a test no longer than training is none of this"


def test_the_trained_length_is_shown_of_what_was_tested_longer_too(rows, tmp_path):
    put(tmp_path, "nope", ([5.0, 7.0], [4.5, 4.5]), id=245, position="none", test="null")
    (one,) = tables(rows())
    assert one.lines["alibi"][64] == (4.5, 4.5) and "none" not in one.lines


def test_seeds_that_diverged_are_told(rows, tmp_path):
    put(tmp_path, "roformer", ([5.0, "nan"], ["nan", "nan"]), id=249, position="rope", test=128)
    (one,) = tables(rows())
    assert ["rope", "5.000 (1 of 2 diverged)", ""] in one.rows()
    assert ["alibi", "- (2 of 2 diverged)", "4.000"] in one.rows()
    told = one.dump()["lines"]
    assert told["rope"][128] == {"mean": 5.0, "seeds": [5.0], "diverged": 1} and told["alibi"][128]["mean"] is None
    assert math.isnan(Seeds((math.nan,)).mean)


def test_models_of_one_name_are_two_lines(rows, tmp_path):
    put(tmp_path, "gta", ([1.0, 1.0], [4.0, 4.0]), id=112, position="rope, final: none", test=128)
    (one,) = tables(rows())
    assert one.lines["rope [gta]"][128].mean == 1.0 and one.lines["rope [roformer]"][128].mean == 6.0


def test_titles_tell_tables_apart(rows, tmp_path):
    put(tmp_path, "gta", ([1.0, 1.0], [4.0, 4.0]), id=112, position="rope", test=128, steps=6)
    titles = [t.title for t in tables(rows())]
    assert sorted(titles) == ["text, trained at 64, 2 layers of width 16, steps 5, batch 4",
                              "text, trained at 64, 2 layers of width 16, steps 6, batch 4"]  # fmt: skip


def test_the_picture_names_every_arm(rows, tmp_path):
    plots = pytest.importorskip("panformer.papers.plots", reason="matplotlib is not installed", exc_type=ImportError)
    put(tmp_path, "roformer", ([5.0, "nan"], [4.0, 4.0]), id=249, position="rope", test=128)
    plots.write(tables(rows()), tmp_path / "all.svg")
    text = (tmp_path / "all.svg").read_text()
    for told in (
        "fire (threshold 64)",
        "rope (x: 1 of 2 seeds diverged)",
        "alibi",
        "trained length",
        "text, trained at 64",
    ):
        assert f">{told}<" in text
    plots.write(tables(rows()), tmp_path / "all.png")
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="ends in"):
        plots.write(tables(rows()), tmp_path / "all.pdf")
    with pytest.raises(InputError, match="nothing to draw"):
        plots.write([], tmp_path / "all.svg")


def longer(name, lower, values):
    """A comparison of positions that was tested longer than trained; values: arm -> length -> seeds."""
    spec = {"schedule": [{"repeat": 2, "mixer": "attention"}]}
    arms = [{"name": f"positions/{arm}", "spec": {**spec, "position": {"use": arm}}} for arm in values]
    trials = [
        {"arm": f"positions/{arm}", "length": n, "measure": v, "tuning": False}
        for arm, line in values.items() for n, seeds in line.items() for v in seeds
    ]  # fmt: skip
    summary = [
        {"arm": f"positions/{arm}", "length": n, "mean": None if None in seeds else sum(seeds) / len(seeds),
         "rank": None if None in seeds else 1 + sum((s[n][0] < seeds[0]) == lower for a, s in values.items() if a != arm and None not in s[n])}
        for arm, line in values.items() for n, seeds in line.items()
    ]  # fmt: skip
    return {"name": name, "task": {"use": "copy"}, "size_is": "high", "trained": 8, "lengths": [8, 16], "sizes": [64], "arms": arms,
            "trials": trials, "summary": summary, "budget": {"value": {"steps": 5}}, "lower_is_better": lower}  # fmt: skip


def test_a_comparison_beyond_the_trained_length_is_a_table(rows):
    (one,) = compared([longer("copy-longer", False, {"rope": {8: [1.0, 0.8], 16: [0.2, None]}}), {"name": "mqar"}])
    assert one.trained == 8 and one.tests == [8, 16] and one.title == "copy-longer, trained at 8"
    assert one.rows() == [["rope", "0.900", "0.200 (1 of 2 diverged)"]] and one.origin == "the comparison copy-longer"
    assert one.task == {"use": "copy", "high": 8} and one.layers == (2,)


def test_all_comparisons_stand_in_one_table_best_first_beyond_the_trained_length():
    right = longer("copy-longer", False, {"rope": {8: [1.0], 16: [0.2]}, "alibi": {8: [0.9], 16: [0.5]}})
    bits = longer("docs-longer", True, {"rope": {8: [2.0], 16: [None]}, "alibi": {8: [3.0], 16: [2.5]}})
    heads, table = overview([right, bits])
    assert heads == ["", "copy 8", "copy 16", "docs 8", "docs 16", "mean rank beyond"]
    assert table == [["alibi", "0.9", "0.5", "3", "2.5", "1.0"], ["rope", "1", "0.2", "2", "diverged", "2.0"]]
