"""BiFormer, MRA-2, SLA and KDEformer: attention where they see all, and their formulas token by token elsewhere."""

import math

import pytest
import torch

from panformer.core.layout import Layout, pack
from panformer.core.part import config
from panformer.ops.hashing import angular_rank, order, planes
from panformer.ops.importance import draw

WIDTH, HEADS, D = 12, 2, torch.float64
WHOLE = {
    "bi_former": {"top": 99},
    "bi_former squares": {"top": 99, "size": 2},
    "multi_resolution": {"top": 99},
    "multi_resolution sparse": {"top": 99, "rest": False},
    "sparse_linear_attention": {"critical": 99},
    "kde_former samples": {"bucket": 3, "samples": 99},
    "kde_former bucket": {"bucket": 99, "samples": 2},
}


def build(use, **options):
    torch.manual_seed(1)
    return config("mixers", {"use": use, "heads": HEADS, **options}).build(WIDTH).double()


def maps(part, x):
    """q, k, v (L, H, E) of one sequence."""
    return [m(x).unflatten(-1, (HEADS, -1)) for m in (part.q, part.k, part.v)]


@pytest.mark.parametrize("name", WHOLE)
def test_what_sees_all_is_attention(name):
    part, peer = build(name.split()[0], **WHOLE[name]), build("attention")
    for m in "qkvo":
        getattr(peer, m).load_state_dict(getattr(part, m).state_dict())
    x, at = pack([torch.randn(n, WIDTH, dtype=D) for n in (14, 3, 1)])
    torch.testing.assert_close(part(x, at), peer(x, at))
    x, at = torch.randn(2, 35, WIDTH, dtype=D), Layout.lattice(2, (5, 7))
    torch.testing.assert_close(part(x, at), peer(x, Layout.dense(2, 35)))


@pytest.mark.parametrize("conv", [None, 3])
def test_bi_former_on_a_lattice(conv):
    """Squares of 2 x 2 cells, of which the lattice's border cuts some; a choice for all heads together."""
    part, grid = build("bi_former", top=2, size=2, conv=conv), (5, 4)
    x, at = torch.randn(1, 20, WIDTH, dtype=D), Layout.lattice(1, grid)
    q, k, v = (z.detach() for z in maps(part, x[0]))
    cell = [(i // 4, i % 4) for i in range(20)]
    home = [(r // 2, c // 2) for r, c in cell]
    members = {g: [i for i in range(20) if home[i] == g] for g in set(home)}
    out = torch.zeros(20, HEADS, WIDTH // HEADS, dtype=D)
    for asks in members.values():
        fit = {r: float(q[asks].mean(0).flatten() @ k[looks].mean(0).flatten()) for r, looks in members.items()}
        seen = [i for r in sorted(fit, key=fit.__getitem__)[-2:] for i in members[r]]
        for i in asks:
            weight = (torch.einsum("he,nhe->hn", q[i], k[seen]) * (WIDTH // HEADS) ** -0.5).softmax(-1)
            out[i] = torch.einsum("hn,nhe->he", weight, v[seen])
    near = torch.zeros(20, WIDTH, dtype=D)
    for i, (r, c) in enumerate(cell if conv else []):
        for j, (s, t) in enumerate(cell):
            if max(abs(r - s), abs(c - t)) <= 1:
                near[i] += part.kernel[:, s - r + 1, t - c + 1] * v[j].flatten()
    torch.testing.assert_close(part(x, at)[0], part.o(out.flatten(1) + near))


@pytest.mark.parametrize("rest", [True, False])
def test_multi_resolution_is_a_matrix_constant_on_blocks(rest):
    part, n, size = build("multi_resolution", top=1, size=3, rest=rest), 11, 3
    x = torch.randn(1, n, WIDTH, dtype=D)
    q, k, v = maps(part, x[0])
    block = torch.arange(n) // size
    out = torch.zeros(n, HEADS, WIDTH // HEADS, dtype=D)
    for h in range(HEADS):
        exact = q[:, h] @ k[:, h].T * (WIDTH // HEADS) ** -0.5
        mean_q, mean_k = (torch.stack([z[block == b, h].mean(0) for b in range(4)]) for z in (q, k))
        coarse = mean_q @ mean_k.T * (WIDTH // HEADS) ** -0.5
        near = coarse - coarse.amax(1, keepdim=True)
        fine = (near >= near.flatten().topk(4).values[-1])[block][:, block]
        a = torch.where(fine, exact.exp(), coarse[block][:, block].exp() * rest)
        out[:, h] = a @ v[:, h] / a.sum(1, keepdim=True)
    torch.testing.assert_close(part(x, Layout.dense(1, n))[0], part.o(out.flatten(1)))


def test_sparse_linear_attention_by_blocks():
    part, n, size = build("sparse_linear_attention", critical=1, skipped=0.5, size=3), 14, 3
    torch.nn.init.normal_(part.join.weight)
    torch.nn.init.normal_(part.join.bias)
    x = torch.randn(1, n, WIDTH, dtype=D)
    q, k, v = maps(part, x[0])
    block = torch.arange(n) // size
    out = torch.zeros(n, HEADS, WIDTH // HEADS, dtype=D)
    for h in range(HEADS):
        mean_q, mean_k = (torch.stack([z[block == b, h].mean(0) for b in range(5)]) for z in (q, k))
        rank = (mean_q @ mean_k.T).argsort(1, descending=True)  # of 5 blocks 1 is critical, 2 are skipped
        for i in range(n):
            best, between = (block == rank[block[i], 0]), torch.isin(block, rank[block[i], 1:3])
            weight = (k[best, h] @ q[i, h] * (WIDTH // HEADS) ** -0.5).softmax(0)
            linear = k[between, h].softmax(-1) @ q[i, h].softmax(-1)
            out[i, h] = weight @ v[best, h] + part.join(linear @ v[between, h] / linear.sum())
    torch.testing.assert_close(part(x, Layout.dense(1, n))[0], part.o(out.flatten(1)))


def test_sparse_linear_attention_without_critical_blocks_is_linear_attention():
    part = build("sparse_linear_attention", critical=0, skipped=0.0, size=3, feature="elu")
    torch.nn.init.eye_(part.join.weight)
    peer = build("linear_attention")
    peer.load_state_dict({k: v for k, v in part.state_dict().items() if not k.startswith("join")})
    x, at = pack([torch.randn(n, WIDTH, dtype=D) for n in (14, 3, 1)])
    torch.testing.assert_close(part(x, at), peer(x, at))


def test_kde_former_draws_by_seed_and_its_error_falls_with_the_sample():
    x, at = torch.randn(1, 300, WIDTH, dtype=D), Layout.dense(1, 300)
    exact = build("kde_former", samples=300)(x, at)
    told = {}
    for samples in (16, 64, 256):
        outs = [build("kde_former", bucket=10, samples=samples, seed=s)(x, at) for s in range(12)]
        told[samples] = math.sqrt(sum((y - exact).square().mean().item() for y in outs) / 12)
    slope = math.log(told[256] / told[16]) / math.log(16)
    assert -0.75 < slope < -0.35, f"error falls with exponent {slope:.2f}, not about -1/2: {told}"
    again = build("kde_former", bucket=10, samples=16, seed=3)(x, at)
    assert torch.equal(again, build("kde_former", bucket=10, samples=16, seed=3)(x, at))
    assert not torch.equal(again, build("kde_former", bucket=10, samples=16, seed=4)(x, at))


def test_kde_former_counts_a_bucket_once():
    """With one key per query seen twice, by bucket and by draw, the answer would not be a mean of distinct keys."""
    part = build("kde_former", bucket=4, samples=5, by="none", seed=2)
    x = torch.randn(1, 12, WIDTH, dtype=D)
    with torch.no_grad():
        part.q.weight.zero_()  # all scores are 0: weights are those of the sample alone
    _, k, v = maps(part, x[0])
    normals, real = planes(HEADS, WIDTH // HEADS, 7, 2, v), torch.ones(1, 1, 12, dtype=torch.bool)
    seen = order(angular_rank(k.transpose(0, 1)[None], normals), real)[0]
    place, _ = draw(torch.full((1, HEADS, 12), 1 / 12, dtype=D), torch.tensor([12]), 5, 2)
    out = torch.zeros(12, HEADS, WIDTH // HEADS, dtype=D)
    for h in range(HEADS):
        for i in range(12):  # equal hashes keep their order, so query i is in bucket i // 4
            weight = torch.zeros(12, dtype=D)
            weight[i // 4 * 4 : i // 4 * 4 + 4] = 1
            for p in place[0, h].tolist():
                if p // 4 != i // 4:
                    weight[p] += 12 / 5
            out[i, h] = weight @ v[seen[h], h] / weight.sum()
    torch.testing.assert_close(part(x, Layout.dense(1, 12))[0], part.o(out.flatten(1)))
