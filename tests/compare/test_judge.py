"""Equal arms must not win: the share of false wins on drawn results, as training runs give them, counted over sets of seeds."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from panformer.compare import judge

SETS = 3000
MOST = 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / SETS)  # what a rate of 5% stays under in 99.5 of 100 such counts
DRAWN = {
    "normal": lambda draw, shape: draw.normal(size=shape),
    "heavy tails": lambda draw, shape: draw.standard_t(2, size=shape),
    "answers": lambda draw, shape: draw.binomial(64, 0.5, size=shape) / 64,
    "learned or not": lambda draw, shape: 0.5 + 0.5 * (draw.random(shape) < 0.5),
    "learned or not, and noise": lambda draw, shape: 0.5 * (draw.random(shape) < 0.5) + 0.01 * draw.normal(size=shape),
    "learned now and then": lambda draw, shape: 0.5 * (draw.random(shape) < 0.2) + 0.01 * draw.normal(size=shape),
    "three levels": lambda draw, shape: draw.integers(0, 3, shape) / 2,
}


def wins(kind, arms, seeds):
    """Of sets of equal arms, the share in which some pair is told apart."""
    x = DRAWN[kind](np.random.default_rng(1), (SETS, arms, seeds))
    pairs = list(itertools.combinations(range(arms), 2))
    with np.errstate(all="ignore"):  # where every gain is the same
        p = np.stack([stats.ttest_1samp(x[:, a] - x[:, b], 0.0, axis=1).pvalue for a, b in pairs])
    p = np.where(np.isnan(p), 0, p)
    close = np.flatnonzero(p.min(0) * len(pairs) < 0.05)  # a judge is never bolder than the t test
    found = 0
    for i in close:
        values = {str(a): x[i, a].tolist() for a in range(arms)}
        found += any(t["verdict"] != "not told apart" for t in judge.pairs(values, False, 1 / 512))
    return found / SETS


@pytest.mark.parametrize(("arms", "seeds"), [(2, 2), (2, 3), (3, 3), (3, 4), (2, 5), (2, 8)])
@pytest.mark.parametrize("kind", DRAWN)
def test_equal_arms_rarely_win(kind, arms, seeds):
    assert wins(kind, arms, seeds) <= MOST


@pytest.mark.parametrize(
    ("kind", "arms", "seeds"),
    [("learned or not", 2, 2), ("learned or not, and noise", 3, 3), ("learned or not", 3, 3), ("three levels", 3, 4)],
)
def test_a_plain_t_test_lets_equal_arms_win(kind, arms, seeds, monkeypatch):
    def plain(gains):
        if not any(gains):
            return 1.0
        return 0.0 if len(set(gains)) == 1 else float(stats.ttest_1samp(gains, 0.0).pvalue)

    monkeypatch.setattr(judge, "_p", plain)
    assert wins(kind, arms, seeds) > MOST


def test_many_seeds_tell_a_real_gain_and_few_tell_nothing():
    rng = np.random.default_rng(0)
    for arms in (2, 3, 5):
        least = judge.least_seeds(arms)
        for seeds in (least - 1, least):
            values = {str(i): [0.5] * seeds for i in range(arms)} | {
                "0": (0.9 + 1e-4 * rng.normal(size=seeds)).tolist()
            }
            told = [p for p in judge.pairs(values, False, 1 / 512) if p["a"] == "0"]
            assert all((p["verdict"] == "0 ahead") == (seeds == least) for p in told), (arms, seeds)
    assert [judge.least_seeds(n) for n in (2, 3, 4, 5, 7)] == [3, 4, 4, 5, 5]


@pytest.mark.parametrize("kind", ["normal", "heavy tails", "three levels"])
def test_the_false_win_rate_of_a_few_runs_is_that_of_many(kind, monkeypatch):
    """On the average over studies, what is counted on twelve gains is the rate of the verdict itself."""
    monkeypatch.setattr(judge, "DRAWS", 40)
    x = DRAWN[kind](np.random.default_rng(2), (40, 2, 12))
    counted = [judge.false_wins((a - b).tolist(), 4, 1 / 512, rng=i) for i, (a, b) in enumerate(x)]
    assert np.mean(counted) == pytest.approx(wins(kind, 2, 4), abs=0.02)
