"""Pictures and facts: what they draw is what was recorded or declared."""

import io
import math
import xml.etree.ElementTree as tree
from statistics import mean

import pytest

from panformer.atlas import checks, facts, plots, samples
from panformer.core.part import config
from panformer.papers import catalogue


def drawn(picture):
    """Titles of the marks, and the picture as XML."""
    root = tree.fromstring(f"<x>{picture}</x>")
    return [t.text for t in root.iter("title")], root


def test_every_value_of_every_seed_is_a_point():
    for row in catalogue.rows():
        for one, ran in zip(checks.shown(row), row.evidence["checks"] if row.evidence else []):
            titles = [title for picture in one.pictures for title in drawn(picture)[0]]
            if ran["judge"] == "beats":
                for arm in ("candidate", "control"):
                    for value in ran["numbers"][arm]:
                        assert any(t.endswith(f" {value:.6g}") for t in titles), (row.slug, arm, value)


def test_no_picture_has_a_place_that_is_no_number():
    found = [p for row in catalogue.rows() for one in checks.shown(row) for p in one.pictures]
    assert len(found) > 100
    for picture in found:
        drawn(picture)
        assert "nan" not in picture.lower().replace("nance", "") and 'x="inf' not in picture


@pytest.mark.parametrize(
    "values", [[0.0, 0.0], [1.0], [5.0, 5.0, 5.0], [1e-300, 1e300], [-1.0, 2.0], [math.inf, 1.0], [math.nan, 2.0]]
)
@pytest.mark.parametrize("log", [False, True])
def test_odd_values_are_drawn_or_told(values, log):
    picture = plots.strips({"a <b> & c": values}, "label", log=log, about='says "this"')
    titles, _ = drawn(picture)
    fit = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    assert len(titles) == len(fit)
    assert not fit or len(fit) == len(values) or "at 0" in picture or "not finite" in picture


def test_many_arms_are_told_apart_by_number():
    spots = [plots.Spot(f"arm {i}", 1e6 * (i + 1), 0.5, 0.4, 0.6) for i in range(9)]
    picture = plots.scatter(spots, "cost", "quality", "about")
    _, root = drawn(picture)
    numbers = [t.text for t in root.iter("text") if (t.text or "").isdigit() and len(t.text) == 1]
    assert set("123456789") <= set(numbers) and len(root.findall(".//li")) == 9


def test_an_arm_that_is_behind_is_told_as_behind():
    row = next(r for r in catalogue.rows() if r.evidence and any(_behind(c) for c in r.evidence["checks"]))
    for one, ran in zip(checks.shown(row), row.evidence["checks"], strict=True):
        assert bool(one.behind) == _behind(ran)


def _behind(ran):
    return ran["judge"] == "beats" and ran["interval"]["mean"] < 0


def test_lower_is_better_is_read_from_the_gain():
    told = {"candidate": [1.0, 1.1], "control": [2.0, 2.1]}
    assert mean(told["candidate"]) < mean(told["control"])
    assert checks._better(told, (0.5, 1.0, 1.5)) == "lower is better"
    assert checks._better(told, (-1.5, -1.0, -0.5)) == "higher is better"


def test_contracts_are_what_parts_declare():
    assert facts.contract("mixers/attention")["causal"] == "an option"
    assert facts.contract("mixers/attention")["streams"] == "where causal"
    assert facts.contract("mixers/mamba") | {"causal": "yes", "streams": "yes", "growth": "n"} == facts.contract(
        "mixers/mamba"
    )
    assert "growth" not in facts.contract("norms/layer") and facts.contract("norms/layer")["pointwise"] == "yes"
    heads = next(o for o in facts.options("mixers/attention") if o.name == "heads")
    assert (heads.kind, heads.default, heads.range) == ("int", "4", "> 0")
    assert next(o for o in facts.options("mixers/attention") if o.name == "kv_heads").kind == "int | null"


def test_an_entry_names_the_parts_it_composes_and_how_they_run():
    row = catalogue.find("xcit")
    found = facts.composed(row)
    assert found["mixers/cross_covariance"] == "adds" and found["positions/learned_grid"] == "model"
    assert found["mixers/attention"] == "arms"
    assert facts.ways(row) == ("no", "no", "n") and facts.length(row) == 16384
    assert facts.ways(catalogue.find("mamba"))[:2] == ("yes", "yes")
    assert facts.ways(next(r for r in catalogue.rows() if r.status == "planned")) == ("", "", "")
    assert [facts.length_class(n) for n in (0, 64, 65, 40000)] == ["", "up to 64", "up to 512", "over 32,768"]


def test_laws_and_matrices_are_of_the_parts_that_exist():
    kept = samples.samples()["parts"]
    assert set(kept) == set(facts.every()), "run: python tools/atlas.py"
    for name in facts.every():
        assert name.startswith("mixers/") == ("matrix" in kept[name])
    assert {"chunks", "steps", "causal", "grows"} <= set(samples.laws_of("mixers/mamba"))
    assert "chunks" not in samples.laws_of("mixers/fourier")


@pytest.mark.parametrize("use", ["attention", "mamba", "delta_net", "fourier"])
def test_a_kept_matrix_is_the_one_that_is_drawn_now(use):
    kept, now = samples.samples()["parts"][f"mixers/{use}"]["matrix"], samples.drawn(use)
    assert {k: v for k, v in kept.items() if k != "heads"} == {k: v for k, v in now.items() if k != "heads"}
    if config("mixers", now["spec"]).build(samples.WIDTH).causal:
        pixels = _pixels(samples.picture(kept["heads"][0]))
        assert all(pixels[i][j] == samples.PALE for i in range(samples.LENGTH) for j in range(i + 1, samples.LENGTH))


def _pixels(address):
    import base64

    image = pytest.importorskip("PIL.Image").open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    assert image.size == (samples.LENGTH, samples.LENGTH)
    return [[image.getpixel((j, i)) for j in range(samples.LENGTH)] for i in range(samples.LENGTH)]
