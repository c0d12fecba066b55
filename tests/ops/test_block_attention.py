"""Block attention, the choice of blocks, regions, hashing and draws, each against its meaning written out."""

import itertools

import pytest
import torch

from panformer.core.layout import Layout
from panformer.ops.block_attention import block_attention, chosen, reference, sample, top_of_all, top_of_each
from panformer.ops.hashing import angular_rank, order, planes
from panformer.ops.importance import draw
from panformer.ops.kernels import block_attention_pairs, block_attention_strips
from panformer.ops.regions import cut, side

D = torch.float64
LAYOUTS = {
    "dense": Layout.dense(2, 11),
    "one": Layout.dense(2, 1),
    "packed": Layout.packed([7, 1, 4, 16]),
    "right": Layout.padded([3, 11, 1]),
    "left": Layout.padded([3, 11, 1], side="left"),
    "lattice": Layout.lattice(2, (5, 7)),
}


def test_a_query_sees_the_keys_of_its_pairs_and_the_rest():
    q, k, v, real, asks, looks, rest = sample(torch.device("cpu"), D)
    out = block_attention(q, k, v, real, asks, looks, rest)
    weight = torch.zeros(12, dtype=D)
    torch.testing.assert_close(out[0, 0, 2], rest.out[0, 0, 2] / rest.sum[0, 0, 2, :, None])
    scores = q[0, 0, 0, 1] @ k[0, 0].flatten(0, 1).T * 3**-0.5
    weight[:8] = scores[:8].exp()
    more = rest.max[0, 0, 0, 1].exp()
    want = (weight @ v[0, 0].flatten(0, 1) + more * rest.out[0, 0, 0, 1]) / (weight.sum() + more * rest.sum[0, 0, 0, 1])
    torch.testing.assert_close(out[0, 0, 0, 1], want)


@pytest.fixture(params=["pairs", "strip of one", "strips of two", "one strip"])
def run(request, monkeypatch):
    if request.param == "pairs":
        return block_attention_pairs.run
    room = {"strip of one": 1, "strips of two": 32, "one strip": 1 << 18}[request.param]  # a pair has 16 scores
    monkeypatch.setattr(block_attention_strips, "ROOM", room)
    return block_attention_strips.run


@pytest.mark.parametrize("with_rest", [True, False])
def test_pairs_equal_the_matrix_with_gradients(run, with_rest):
    args = [*sample(torch.device("cpu"), D)]
    leaves = [a.requires_grad_() for a in (*args[:3], *args[6])]
    args[6] = args[6] if with_rest else None
    want, got = reference(*args), run(*args)
    torch.testing.assert_close(got, want)
    slopes = [torch.autograd.grad(y.sin().sum(), leaves, allow_unused=True) for y in (want, got)]
    for a, b in zip(*slopes, strict=True):
        torch.testing.assert_close(a, b)
    if not with_rest:
        assert bool((got[0, :, 2] == 0).all()), "a query without pairs must give 0"


def test_huge_scores_of_one_query_leave_the_others_alone(run):
    q, k, v, real, asks, looks, _ = sample(torch.device("cpu"), D)
    q[0, 0, 0, 0] *= 1e4
    torch.testing.assert_close(run(q, k, v, real, asks, looks, None), reference(q, k, v, real, asks, looks, None))


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("size", [None, 1, 3, 50])
def test_regions_hold_every_token_once_and_no_two_sequences(name, size):
    at = LAYOUTS[name]
    pieces, x = cut(at, size, square=True), torch.randn(at.batch, at.length, 6, dtype=D)
    torch.testing.assert_close(pieces.give([p.take(x, 2) for p in pieces.parts], at), at.clean(x))
    seen = torch.cat([p.token[p.real] for p in pieces.parts])
    assert sorted(seen.tolist()) == at.valid.flatten().nonzero()[:, 0].tolist()
    for p in pieces.parts:
        for row, (index, real) in enumerate(zip(p.token, p.real, strict=True)):
            assert len(set(at.ordinal.flatten()[index[real]].tolist())) == 1
            assert p.filled[row] == int(real.any(-1).sum()) and bool(real[: p.filled[row]].any(-1).all())


def test_squares_are_squares_and_means_are_over_tokens():
    at = Layout.lattice(1, (5, 7))
    (p,) = cut(at, 3, square=True).parts
    cells = at.pos[0][p.token[0, 4][p.real[0, 4]]]
    assert sorted(map(tuple, cells.tolist())) == list(itertools.product((3, 4), (3, 4, 5)))
    x = torch.randn(1, 35, 4, dtype=D)
    torch.testing.assert_close(p.mean(p.take(x, 2))[0, 1, 4], x[0, p.token[0, 4][p.real[0, 4]], 2:].mean(0))
    assert [side(n) for n in (1, 2, 16, 100)] == [1, 1, 4, 10] and side(256, 2) == 4


def test_top_of_each_row_and_of_the_whole_matrix():
    torch.manual_seed(0)
    score, count = torch.randn(2, 1, 5, 5), torch.tensor([5, 3])
    for n, c in enumerate(count.tolist()):
        here = score[n, 0, :c, :c]
        want = torch.zeros(5, 5, dtype=torch.bool)
        want[:c, :c] = here >= here.topk(2).values[:, -1:]
        assert torch.equal(chosen(*top_of_each(score, count, 2), 5)[n, 0], want)
        want[:c, :c] = here >= here.flatten().topk(2 * c).values[-1]
        assert torch.equal(chosen(*top_of_all(score, count, 2), 5)[n, 0], want)


def test_consecutive_hashes_differ_by_one_side():
    normals = planes(1, 6, 4, 0, torch.zeros((), dtype=D))
    x = torch.randn(1, 1, 4000, 6, dtype=D)
    rank, sides = angular_rank(x, normals)[0, 0], (x[0, 0] @ normals[0]) > 0
    by_rank = {int(r): s for r, s in zip(rank, sides, strict=True)}
    assert set(by_rank) == set(range(16))
    assert all(int((by_rank[r] ^ by_rank[r + 1]).sum()) == 1 for r in range(15))
    real = torch.arange(4000) < 30
    first = order(rank[None, None], real[None, None])[0, 0, :30]
    assert set(first.tolist()) == set(range(30)) and bool((rank[first].diff() >= 0).all())


def test_draws_have_the_right_mean_and_short_sequences_are_taken_whole():
    chance = torch.tensor([0.5, 0.2, 0.2, 0.1, 0.0], dtype=D).expand(3, 1, 5).contiguous()
    chance[2] = torch.tensor([0.25, 0.25, 0.5, 0, 0])
    f = torch.tensor([1.0, -2.0, 3.0, 7.0, 100.0], dtype=D)
    told = []
    for seed in range(3000):
        place, weight = draw(chance, torch.tensor([4, 4, 3]), 3, seed)
        told.append((weight.exp() * f[place]).sum(-1)[:, 0])
    mean, error = torch.stack(told).mean(0), torch.stack(told).std(0) / 3000**0.5
    assert abs(mean[0] - 9) < 4 * error[0] and error[0] > 0
    torch.testing.assert_close(told[0][2], torch.tensor(2.0, dtype=D))
    assert bool(error[2] < 1e-9)
