"""Sets of data as tasks: trained on one split, measured on another, in the measure of choose."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from panformer.claims import registry
from panformer.claims.arms import spec_of
from panformer.core.errors import InputError
from panformer.measure.quality import quality
from panformer.model.build import build
from panformer.papers.schema import Change

MODEL = {"width": 16, "schedule": [{"mixer": {"use": "attention", "heads": 2}, "channel": "mlp"}]}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def task(use, **options):
    return registry.task({"use": use, **options})


@pytest.fixture
def table(tmp_path):
    """60 rows of which a number decides the class."""
    lines = ["number,noise,class"]
    lines += [
        f"{v:.3f},{n:.3f},{'big' if v > 0 else 'small'}" for v, n in np.random.default_rng(0).normal(size=(60, 2))
    ]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines))
    return str(path)


def test_batches_are_of_training_and_the_measure_is_of_the_whole_test(table):
    t = task("dataset", data=table)
    assert t.tests == len(t.set.test) and t.resolution == 1 / t.tests and not t.lower_is_better
    train, test = ({tuple(x.flatten().tolist()) for x in split.inputs} for split in (t.set.train, t.set.test))
    assert {tuple(x.flatten().tolist()) for x in t.batch(rng(), 50).x} <= train
    assert {tuple(x.flatten().tolist()) for x in t.test(rng(), 50).x} <= test
    model = build(spec_of(MODEL, Change(), t.ends()), seed=0)
    assert t.measure(model, 0) == t.measure(model, 1, size=3) == quality(model, t.set, "test").measure


def test_a_rule_that_knows_the_number_scores_fully(table):
    t = task("dataset", data=table)
    names = t.set.task.columns
    at = names.index("number")
    given = t.set.prepare.input.columns[at]

    class Rule(torch.nn.Module):
        def forward(self, x, lengths=None):
            big = x[:, at, 0] * given.std + given.mean > 0
            found = torch.stack([big, ~big], -1).float()
            return found if t.set.task.classes == ("big", "small") else found.flip(-1)

    assert quality(Rule(), t.set, "test").measure == 1.0


@pytest.mark.parametrize(("data", "options", "shape"), [
    ("digits", {}, (3, 1, 8, 8)), ("weather", {"length": 30, "horizon": 6}, (3, 30, 4)),
    ("stdlib-code", {"length": 40}, (3, 40)), ("diabetes", {}, (3, 10, 2)),
])  # fmt: skip
def test_sets_of_every_kind_are_tasks(data, options, shape):
    t = task("dataset", data=data, **options)
    assert tuple(t.batch(rng(), 3).x.shape) == shape
    assert t.lower_is_better == (data != "digits")


def test_wishes_that_the_data_cannot_meet_are_told(table):
    with pytest.raises(InputError, match=r"no form 'rows'; known: columns"):
        task("dataset", data=table, form="rows")
    with pytest.raises(InputError, match="no such file"):
        task("dataset", data="digit")


@pytest.mark.parametrize("side", [8, 4, 16])
def test_pixels_are_the_pictures_of_the_set(side):
    from sklearn.datasets import load_digits

    t = task("pixels", side=side, levels=17)
    batch = t.test(rng(), 16)
    assert batch.x.shape == (16, side * side) and t.ends()["head"]["classes"] == 10
    if side == 8:
        bunch = load_digits()
        known = {tuple(map(int, image)): label for image, label in zip(bunch.data, bunch.target, strict=True)}
        assert [known[tuple(x)] for x in batch.x.tolist()] == batch.y.tolist()


def test_pixels_of_what_is_no_picture_are_refused():
    with pytest.raises(InputError):
        task("pixels", data="iris").batch(rng(), 2)
