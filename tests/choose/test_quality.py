"""Measures equal their definitions, whatever the batch size; intervals cover; the front is the front."""

import math

import numpy as np
import pytest
import torch

from panformer import build
from panformer.choose import forms
from panformer.measure.latency import latencies
from panformer.measure.quality import Scores, quality
from panformer.measure.statistics import blocks_of, over_blocks, over_both, pareto


def model_of(d):
    choice = {
        "form": next(iter(forms.forms(d.task))),
        "position": "none",
        "width": 16,
        "depth": 1,
        "dropout": 0.1,
        "heads": 2,
    }
    return build(forms.spec(d.task, "attention", choice), seed=3)


@pytest.mark.parametrize("kind", ["table", "regression", "text", "series", "language", "image", "frames"])
def test_the_batch_size_changes_nothing(data, kind):
    model = model_of(data[kind]).train()
    found = [quality(model, data[kind], "test", size).measure for size in (1, 3, 64)]
    assert max(found) - min(found) < 1e-5 * max(1, abs(found[0])), f"{kind}: {found}"
    assert model.training, "quality must leave the mode as it found it"


def test_measures_equal_their_definitions(data):
    d = data["regression"]
    found = quality(lambda x, lengths=None: torch.zeros(len(x)), d, "test").measure
    y = torch.stack(list(d.test.targets)).double() * d.facts["target_std"] + d.facts["target_mean"]
    assert found == pytest.approx(float((y - d.facts["target_mean"]).square().mean().sqrt()), rel=1e-5)
    d = data["series"]
    last = quality(lambda x, lengths=None: x[:, -1:].expand(-1, d.task.horizon, -1), d, "test").measure
    pairs = zip(d.test.inputs, d.test.targets, strict=True)
    away = torch.stack([(y - x[-1]).abs().mean(0) for x, y in pairs]).double().mean(0)
    assert last == pytest.approx(float((away / torch.tensor(d.facts["naive_mae"])).mean()), rel=1e-5)
    d = data["language"]
    even = quality(lambda x, lengths=None: torch.zeros(*x.shape, 258), d, "test").measure
    assert even == pytest.approx(math.log2(258) / d.facts["bytes_per_token"]["test"], rel=1e-6)
    asked = sum(len(x) for x in d.test.inputs) - 1
    assert quality(model_of(d), d, "test").scores.weights.sum() == asked


def test_scores_survive_json():
    scores = Scores(np.arange(6.0).reshape(3, 2), np.ones(3), np.array([1.0, 2.0]), True)
    again = Scores.read(scores.tree())
    assert again.measure == scores.measure == pytest.approx((math.sqrt(2) + 2 * math.sqrt(3)) / 2)
    assert scores.on(blocks_of(3, 1)).measure == pytest.approx(scores.measure)


def test_bootstrap_covers_as_often_as_it_says():
    """Of 200 intervals of the mean of 60 numbers, 95% less chance hold the truth."""
    rng = np.random.default_rng(0)
    hits = 0
    for k in range(200):
        x = rng.normal(size=60)
        found = over_blocks(lambda at, x=x: x[at].mean(-1), 60, seed=k)
        hits += found.low <= 0 <= found.high
    assert 176 <= hits <= 199, f"{hits} of 200"


def test_seeds_and_rows_add_up():
    """With rows that do not vary it is Student's t of the seeds; with seeds that do not vary about the bootstrap."""
    from scipy import stats

    seeds = [0.8, 0.9, 1.0]
    still = over_both(lambda at: np.full(at.shape[:-1], 0.9), 50, seeds)
    right = stats.ttest_1samp(seeds, 0).confidence_interval(0.95)
    assert (still.low, still.high) == pytest.approx((right.low, right.high))
    x = np.random.default_rng(0).normal(size=400)
    both, rows = (f(lambda at: x[at].mean(-1), 400, *more) for f, more in ((over_both, [[0.5] * 3]), (over_blocks, [])))
    assert both.low == pytest.approx(rows.low, abs=0.02)
    assert both.high == pytest.approx(rows.high, abs=0.02)


def test_blocks_partition_the_examples():
    for count, length in ((10, 3), (2, 50), (7, 1), (400, 9)):
        blocks = blocks_of(count, length)
        assert np.concatenate(blocks).tolist() == list(range(count))
        assert len(blocks) >= 2


def test_pareto_front_by_brute_force():
    rng = np.random.default_rng(1)
    points = {str(i): tuple(rng.integers(0, 6, 3)) for i in range(40)}
    front = pareto(points)
    for name, p in points.items():
        beaten = any(all(a <= b for a, b in zip(q, p, strict=True)) and q != p for q in points.values())
        assert (name in front) != beaten


def test_latencies_are_interleaved():
    order = []
    found = latencies({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 0.01)
    timed = order[6:]  # after warming up, three calls each
    assert timed == ["a", "b"] * (len(timed) // 2)
    assert found["a"].calls == found["b"].calls >= 10
    assert found["a"].median <= found["a"].p95
