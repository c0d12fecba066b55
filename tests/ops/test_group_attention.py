"""Attention within groups from its meaning, sorted against written out, and clusters from theirs."""

import pytest
import torch

from panformer.ops.clusters import _largest, best, centred, nearest, settled
from panformer.ops.group_attention import group_attention, reference
from panformer.ops.hashing import cross_polytope
from panformer.ops.kernels import group_attention_sorted

D = torch.float64


def inputs(rounds, queries=50, length=50):
    rng = torch.Generator().manual_seed(rounds)
    q, k, v = (torch.randn(2, 2, n, e, generator=rng, dtype=D) for n, e in ((queries, 4), (length, 4), (length, 5)))
    return q, k, v, torch.randint(-1, 4, (2, 2, rounds, length), generator=rng)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("rounds", [1, 3])
def test_a_query_sees_each_key_near_it_in_any_round_once(rounds, causal):
    q, k, v, group = inputs(rounds)
    out, window = group_attention(q, k, v, group, 3, causal, 0.5), 3
    for i in range(50):
        seen = set()
        for ids in group[1, 0].tolist():
            members = [j for j in range(50) if ids[j] == ids[i] >= 0]
            mine = members.index(i) if i in members else None
            seen |= {j for n, j in enumerate(members) if mine is not None and abs(n - mine) < window}
        seen = {j for j in seen if j <= i or not causal}
        which = sorted(seen - {i} or seen)
        want = torch.zeros(5, dtype=D)
        if which:
            want = (0.5 * q[1, 0, i] @ k[1, 0, which].T).softmax(-1) @ v[1, 0, which]
        torch.testing.assert_close(out[1, 0, i], want, msg=f"token {i} sees {which}")


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("rounds", "queries"), [(1, 50), (3, 50), (1, 41), (3, 41), (2, 1)])
@pytest.mark.parametrize("window", [1, 3, 7, 60])
@pytest.mark.parametrize("table", [3, 512])
def test_sorted_equals_the_matrix_with_gradients(rounds, queries, window, causal, table, monkeypatch):
    for name, value in {"STRIP": 4, "TILE": 2, "KINDS": 2, "TABLE": table}.items():
        monkeypatch.setattr(group_attention_sorted, name, value)
    q, k, v, group = inputs(rounds, queries)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    want, got = (f(q, k, v, group, window, causal, 0.5) for f in (reference, group_attention_sorted.run))
    torch.testing.assert_close(got, want)
    slopes = [
        torch.autograd.grad(y.sin().sum(), leaves, allow_unused=True, materialize_grads=True) for y in (want, got)
    ]
    for a, b in zip(*slopes, strict=True):
        torch.testing.assert_close(a, b)


def test_strips_reach_no_further_than_their_groups_and_windows():
    group = torch.arange(640)[None, None] // 80  # eight groups of 80 places, ten strips
    reach = {
        window: [
            (s.lead, s.trail, s.which.tolist()) for s in group_attention_sorted._Order(group, window, True).strips()
        ]
        for window in (33, 128)
    }
    assert reach[33] == [(0, 0, [0, 5]), (32, 0, [1, 2, 3, 4, 6, 7, 8, 9])]
    assert reach[128] == [(0, 0, [0, 5]), (32, 0, [3, 4, 8, 9]), (64, 0, [1, 2, 6, 7])]
    both = [(s.lead, s.trail) for s in group_attention_sorted._Order(group, 33, False).strips()]
    assert both == [(0, 32), (32, 0), (32, 32)]


def test_long_sequences_are_sorted_and_few_queries_are_not():
    q, k, v, group = inputs(1)
    assert group_attention.why(q, k, v, group, 3, True, 0.5)["sorted"] is None
    assert "windows" in group_attention.why(q, k, v, group, 20, True, 0.5)["sorted"]
    assert "queries" in group_attention.why(q[:, :, -1:], k, v, group, 3, True, 0.5)["sorted"]


def test_a_hash_is_the_nearest_direction_or_opposite():
    normals = torch.eye(3, dtype=D).repeat(1, 1, 1)
    x = torch.tensor([[0.9, 0.1, 0], [0, -2.0, 0.5], [0, 0, -1.0]], dtype=D)
    assert cross_polytope(x[None, None], normals, 1).flatten().tolist() == [0, 4, 5]


def test_k_means_moves_to_the_mean_direction_and_leaves_what_nothing_is_near():
    x = torch.tensor([[[1.0, 0], [0.6, 0.8], [-1, 0]]], dtype=D)
    means = torch.tensor([[[0.8, 0.6], [-0.8, 0.6], [0, -1]]], dtype=D)
    want = torch.tensor([[[1.6, 0.8], [-1, 0], [0, -1]]], dtype=D)
    torch.testing.assert_close(
        centred(x.transpose(0, 1), nearest(x, means).mT, means), torch.nn.functional.normalize(want, dim=-1)
    )
    middles = torch.eye(4, dtype=D)
    x = torch.nn.functional.normalize(middles.repeat(9, 1) + 0.1 * torch.randn(36, 4, dtype=D), dim=-1)
    found = settled(x[:, None], 4)[0]
    assert sorted((found @ middles.T).argmax(-1).tolist()) == [0, 1, 2, 3]


def test_every_mean_gets_its_best_tokens():
    rng = torch.Generator().manual_seed(0)
    x, means = torch.randn(2, 1, 9, 3, generator=rng, dtype=D), torch.randn(1, 2, 3, generator=rng, dtype=D)
    count, most = torch.tensor([9, 5]), torch.tensor([4, 3])
    places, there = best(x, means, count, most, 4)
    for n in range(2):
        for c in range(2):
            order = (x[n, 0, : count[n]] @ means[0, c]).argsort(descending=True)[: most[n]]
            assert places[n, 0, c][there[n, 0, c]].tolist() == order.tolist()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_of_equal_numbers_the_first_is_largest(dtype):
    x = torch.randint(-3, 4, (4, 60), generator=torch.Generator().manual_seed(0)).to(dtype) / 3
    x[0, ::2], x[1, 1::3] = -0.0, -torch.inf
    want = x.double().argsort(dim=-1, descending=True, stable=True)
    assert torch.equal(_largest(x, 60), want)
    assert torch.equal(_largest(x, 7), want[:, :7])
