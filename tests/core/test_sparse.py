"""Sparsity as data: rows cover what is seen, once; streams may forget what nobody waits for; two hops reach all."""

import pytest
import torch

from panformer.core import sparse
from panformer.core.layout import Layout
from panformer.core.part import config, known
from panformer.core.score import Causal, Same
from panformer.core.sparse import Block, Column, Dilated, Drawn, First, Marks, Near, Seen, bands, side

SIGHTS = [
    Near(None), Near(5), Block(None), Block(4), Column(None), Column(3), Marks(None, 2), Marks(5, 2), Dilated(12, 3, 1),
    Dilated(6, 1), First(3), Drawn(4, 3, 7),
]  # fmt: skip


def seen(sight, n, causal):
    place = torch.arange(n)
    i, j = place[:, None], place[None]
    return sight.sees(i, j) & ((j <= i) if causal else (j == j))


@pytest.mark.parametrize("sight", SIGHTS, ids=str)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("n", [1, 2, 7, 70])
def test_rows_hold_every_pair_that_is_seen_once(sight, causal, n, monkeypatch):
    monkeypatch.setattr(sparse, "TILE", 3)
    count = torch.zeros(n + 1, n + 1, dtype=torch.int64)
    for q, k in sight.rows(n, causal):
        assert len(q) == len(k) and (q < n).all() and (k < n).all()
        pairs = torch.where(q < 0, n, q)[:, :, None], torch.where(k < 0, n, k)[:, None]
        count.index_put_(torch.broadcast_tensors(*pairs), torch.ones((), dtype=torch.int64), accumulate=True)
    held, want = count[:n, :n], seen(sight, n, causal)
    assert (held[want] == 1).all(), "a pair that is seen stands in no row, or in several"
    assert held.max() <= 1, "a pair stands in several rows"
    other = held.tril() if causal else held
    assert not sight.exact or not other[~want].any(), "a pair that is not seen"


@pytest.mark.parametrize("sight", SIGHTS, ids=str)
def test_nothing_is_seen_that_nobody_waits_for(sight):
    n = 150
    every = seen(sight, n, True)
    later = every.flip(0).cumsum(0).flip(0) > 0  # (now, j): whether a query at now or later sees j
    place = torch.arange(n)
    waits = sight.waits(place[None].expand(n, n), place[:, None].expand(n, n))
    assert not (later & ~waits & (place <= place[:, None])).any()


@pytest.mark.parametrize("sight", [Near(5), Block(4), Dilated(12, 3, 1), First(3)], ids=str)
def test_most_of_what_is_past_is_not_waited_for(sight):
    place = torch.arange(600)
    assert sight.waits(place, torch.full_like(place, 599)).sum() < 20


def test_a_side_is_the_least_power_of_two_whose_square_is_above():
    sides = side(torch.arange(300)).tolist()
    assert all(s * s > i and (s == 1 or s * s <= 4 * i) and s & (s - 1) == 0 for i, s in enumerate(sides))
    for n in (1, 2, 5, 64, 300):
        told = [s for a, b, s in bands(n, None) for _ in range(a, b)]
        assert told == sides[:n]


@pytest.mark.parametrize("heads", [2, 4])
@pytest.mark.parametrize(
    "tree",
    [{"use": "strided"}, {"use": "strided", "stride": 7}, {"use": "fixed"}, {"use": "fixed", "stride": 7, "marks": 2}],
)
def test_two_layers_connect_all_pairs(tree, heads):
    at = Layout.dense(1, 120)
    score = (Same() & Causal()) + config("patterns", tree).build(heads).score
    step = (score.value(at, at)[0] > -torch.inf).any(0).double()
    assert torch.equal(step @ step > 0, torch.ones(120, 120).tril().bool())
    assert step.mean() < 0.25


def test_drawn_blocks_depend_on_the_seed_and_the_head_alone():
    at, longer = Layout.dense(1, 64), Layout.dense(1, 96)

    def value(seed, where):
        return config("patterns", {"use": "drawn", "block": 4, "seed": seed}).build(2).score.value(where, where)

    one = value(1, at)
    assert torch.equal(one, value(1, longer)[..., :64, :64])
    assert not torch.equal(one, value(2, at)) and not torch.equal(one[:, 0], one[:, 1])


def test_all_patterns_are_here_and_bad_ones_are_refused():
    assert known("patterns") == ["axial", "dilated", "drawn", "first", "fixed", "strided"]
    for wrong in ({"segments": [4], "rates": [3]}, {"segments": [4, 8], "rates": [2]}, {"segments": [4], "rates": [2]}):
        with pytest.raises(Exception, match="rate"):
            config("patterns", {"use": "dilated", **wrong}).build(2)
    with pytest.raises(Exception, match="window"):
        config("mixers", {"use": "attention", "window": 3, "pattern": "strided"}).build(16)


def test_a_sight_stands_as_a_mask_beside_others():
    """Of a stream of chunks of three a token sees the last of every full one, and itself."""
    at = Layout.dense(1, 8)
    mask = Same() & Causal() & (Seen(Near(1)) | Seen(Marks(3, 1)))
    want = [[j for j in range(8) if j == i or (j < i and (j + 1) % 3 == 0)] for i in range(8)]
    assert [row.nonzero()[:, 0].tolist() for row in mask.keep(at, at)[0, 0]] == want
    assert mask.blocks(at, at, 4)[0, 0].tolist() == [[1, 0], [1, 1]]
