"""Pathfinder's pictures are what they say, and nothing but the way between the circles tells the answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from panformer.claims import registry
from panformer.claims.tasks import pathfinder
from panformer.core.errors import InputError

TINY, SMALL, PUBLISHED, LONG = (pathfinder.Pathfinder.Config(side=side).plan for side in (12, 16, 32, 128))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def dice(seed=0):
    return np.random.default_rng(seed)


def samples(curve):
    """Points along the strokes of a curve (2 paddles, 2), the gaps between strokes, and their lengths."""
    ends = curve.reshape(-1, 2, 2)
    gaps = np.linalg.norm(ends[1:, 0] - ends[:-1, 1], axis=-1)
    lengths = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=-1)
    return np.concatenate([np.linspace(a, b, 9) for a, b in ends]), gaps, lengths


@pytest.mark.parametrize("c", [TINY, SMALL, PUBLISHED, LONG], ids=["tiny", "small", "published", "path-x"])
def test_long_curves_are_chains_that_never_touch(c):
    count = 2 if c.side > 100 else 8
    ink, curves, _ = pathfinder.drawn(c, dice(3), count)
    assert ink.shape == (count, c.side, c.side) and ink.min() == 0 and 0.9 < ink.max() <= 1
    assert curves.shape == (count, 2, 2 * c.paddles, 2)
    for one, two in curves:
        points = []
        for curve in (one, two):
            sampled, gaps, lengths = samples(curve)
            np.testing.assert_allclose(gaps, c.gap)
            np.testing.assert_allclose(lengths, c.stroke)
            assert sampled.min() >= 1 and sampled.max() <= c.side - 2
            points.append(sampled)
        apart = min(math.dist(p, q) for p in points[0] for q in points[1])
        assert apart > 2.5, "ink reaches one pixel from the middle of a stroke"


def test_ink_leads_from_the_beginning_of_a_curve_to_its_own_end_alone():
    ink, curves, _ = pathfinder.drawn(SMALL, dice(), 32)
    for picture, (one, two) in zip(ink, curves, strict=True):
        reached = flood(picture > 0.3, one[0])
        told = [any(math.dist(p, np.rint(end)) < 1 for p in reached) for end in (one[-1], two[0], two[-1])]
        assert told == [True, False, False]


def flood(ink, start):
    found, front = set(), [tuple(np.rint(start).astype(int).tolist())]
    while front:
        r, c = front.pop()
        if (r, c) in found or not (0 <= r < len(ink) and 0 <= c < len(ink)) or not ink[r, c]:
            continue
        found.add((r, c))
        front += [(r + i, c + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return found


def test_circles_lie_on_ends_of_one_curve_or_of_two():
    ink, curves, one = pathfinder.drawn(PUBLISHED, dice(5), 24)
    pictures, same = pathfinder.circled(PUBLISHED, dice(6), ink, curves, one)
    for picture, yes, pair, i in zip(pictures, same, curves, one, strict=True):
        full = [bright(picture, at) for at in (pair[i, 0], pair[i, -1], pair[1 - i, 0], pair[1 - i, -1])]
        assert full[0] and full[1 if yes else 3]
        assert sum(full) == 2 or crowded(pair), "two circles, on the ends of long curves"
    assert 0.2 < same.mean() < 0.8


def bright(picture, at):
    """Whether all pixels within one of a place are bright, as only a circle makes them."""
    r, c = np.meshgrid(*map(np.arange, picture.shape), indexing="ij")
    return bool(picture[np.hypot(r - at[0], c - at[1]) <= 1.0].min() > 0.95)


def crowded(pair):
    """Whether ends lie so close that a circle on one covers the other."""
    ends = [at for curve in pair for at in (curve[0], curve[-1])]
    return any(math.dist(a, b) < 3 for i, a in enumerate(ends) for b in ends[:i])


def guessed(feature, label):
    """Accuracy on every second example of the best answer to each value of a feature among the others."""
    known, asked = feature[::2], feature[1::2]
    votes = {v: label[::2][known == v].mean() > 0.5 for v in np.unique(known)}
    return np.mean([votes.get(v, True) == y for v, y in zip(asked, label[1::2], strict=True)])


@pytest.fixture(scope="module", params=[TINY, SMALL], ids=["tiny", "small"])
def many(request):
    return request.param, pathfinder.turned(*pathfinder.drawn(request.param, dice(1), 500))


def shortcuts(c, ink, curves, one):
    """How often the distance of the circles, and the ink of the picture, tell the answer: of 4000."""
    pictures, same = pathfinder.circled(c, dice(2), ink, curves, one)
    rows = np.arange(len(one))
    ends = curves[rows, np.where(same, one, 1 - one), -1]
    distance = np.rint(np.linalg.norm(curves[rows, one, 0] - ends, axis=-1))
    amount = pictures.sum((1, 2))
    return guessed(distance, same), guessed(np.digitize(amount, np.quantile(amount, np.linspace(0, 1, 9)[1:-1])), same)


def test_neither_distance_nor_ink_tells_the_answer(many):
    c, found = many
    assert shortcuts(c, *found) == pytest.approx((0.5, 0.5), abs=0.045)  # four deviations of 2000 answers


def test_where_circles_are_put_on_any_two_ends_their_distance_tells(monkeypatch):
    monkeypatch.setattr(pathfinder, "_even", lambda curves: np.zeros(len(curves), np.int64))
    found = pathfinder.turned(*pathfinder.drawn(SMALL, dice(1), 500))
    assert shortcuts(SMALL, *found)[0] > 0.57


def test_a_batch_is_rows_of_grey_levels_and_a_test_has_no_picture_twice():
    t = registry.task({"use": "pathfinder", "side": 12, "levels": 5})
    batch = t.batch(rng(), 20)
    assert batch.x.shape == (20, 144) and batch.x.min() == 0 and batch.x.max() == 4 and set(batch.y.tolist()) == {0, 1}
    assert [len({tuple(sorted(x)) for x in side.x.tolist()}) for side in (batch, t.test(rng(), 20))] == [6, 20]


def test_turns_are_eight_and_take_the_curves_with_them():
    ink, curves, one = pathfinder.drawn(TINY, dice(), 3)
    turned, moved, ones = pathfinder.turned(ink, curves, one)
    assert len(np.unique(turned[:8], axis=0)) == 8 and (ones == one.repeat(8)).all()
    for picture, (first, second) in zip(turned, moved, strict=True):
        for end in (first[0], first[-1], second[0], second[-1]):
            row, column = np.rint(end).astype(int)
            assert picture[row, column] > 0.3


def test_what_cannot_be_drawn_is_told():
    with pytest.raises(InputError, match="hardly room"):
        registry.task({"use": "pathfinder", "side": 8, "paddles": 40, "apart": 4.0}).batch(rng(), 1)
    with pytest.raises(InputError, match="further apart"):
        registry.task({"use": "pathfinder", "side": 8, "apart": 9.0})
