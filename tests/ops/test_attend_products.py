"""Attention as two products with a softmax between: the reference in every number, and only where it says so."""

import pytest
import torch

from panformer.core.layout import Layout
from panformer.core.score import Causal, Same
from panformer.ops import backend
from panformer.ops.attend import attend, reference
from panformer.ops.kernels import attend_products, attend_sdpa


@pytest.fixture(autouse=True)
def _units(monkeypatch):
    monkeypatch.setattr(attend_products, "_fits", lambda: True)
    monkeypatch.setattr(attend_products, "LEAST", 0)


def inputs(at, heads=4, groups=4, dtype=torch.float64, size=8):
    rng = torch.Generator().manual_seed(0)
    rows = [torch.randn(at.batch, at.length, h, size, generator=rng, dtype=dtype) for h in (heads, groups, groups)]
    return [x.transpose(1, 2) for x in rows]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("room", [1, 5000, 1 << 19])
def test_products_are_the_reference(groups, room, monkeypatch):
    monkeypatch.setattr(attend_products, "ROOM", room)
    at = Layout.dense(5, 23)
    results = []
    for run in (reference, attend_products.run):
        leaves = [x.clone().requires_grad_() for x in inputs(at, 4, groups)]
        y = run(*leaves, Same(), at, at, 0.3)
        results.append([y, *torch.autograd.grad(y.sin().sum(), leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("far", [1.0, 300.0])
def test_scores_of_any_size_are_served(far):
    """Keys far from 0 are no trouble; scores that exp cannot take go to the softmax."""
    at = Layout.dense(2, 23)
    q, k, v = inputs(at)
    for moved in (k + far, far * k):
        got, want = (run(q, moved, v, Same(), at, at, 0.3) for run in (attend_products.run, reference))
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("length", [1, 7, 64, 197])
def test_bf16_errs_no_more_than_the_fused_call_twice(length):
    at = Layout.dense(3, length)
    exact = inputs(at, size=64)
    half = [x.bfloat16() for x in exact]
    want = reference(*(x.double() for x in half), Same(), at, at, 0.125)
    errors = [
        (run(*half, Same(), at, at, 0.125).double() - want).norm() for run in (attend_products.run, attend_sdpa.run)
    ]
    assert errors[0] <= 2 * errors[1] + 1e-3 * want.norm()


def test_a_sequence_does_not_depend_on_its_neighbours():
    at = Layout.dense(6, 50)
    q, k, v = inputs(at, dtype=torch.bfloat16)
    with torch.inference_mode():
        whole = attend_products.run(q, k, v, Same(), at, at, 0.3)
        alone = attend_products.run(q[2:3], k[2:3], v[2:3], Same(), Layout.dense(1, 50), Layout.dense(1, 50), 0.3)
    torch.testing.assert_close(whole[2:3], alone, rtol=2**-7, atol=1e-3)


def test_it_serves_dense_batches_and_equal_lengths_of_a_packed_row():
    at, packed = Layout.dense(2, 40), Layout.packed([40, 40, 60])
    with torch.inference_mode(), backend.record() as used:
        attend(*inputs(at, dtype=torch.bfloat16), Same(), at, at, 0.3)
        row = inputs(packed, dtype=torch.bfloat16)
        got = attend(*row, Same(), packed, packed, 0.3)
        want = reference(*(x.double() for x in row), Same(), packed, packed, 0.3)
    assert used == {"attend:products": 1, "attend:groups": 1}
    assert (got - want).norm() <= 0.01 * want.norm()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dtype": torch.float32}, "bf16"),
        ({"score": Same() & Causal()}, "hide"),
        ({"at": Layout.padded([3, 9])}, "hide"),
        ({"at": Layout.dense(1, attend_products.MOST + 1)}, "quicker"),
        ({"dropout": 0.1}, "dropped"),
        ({"cap": 5.0}, "capped"),
    ],
)
def test_it_says_what_it_refuses(change, says):
    at = change.get("at", Layout.dense(2, 9))
    call = (*inputs(at, dtype=change.get("dtype", torch.bfloat16)), change.get("score", Same()), at, at, 0.3)
    with torch.no_grad():
        assert says in attend_products.refuses(*call, change.get("dropout", 0.0), change.get("cap"))


def test_a_few_scores_are_left_to_the_fused_call(monkeypatch):
    monkeypatch.setattr(attend_products, "LEAST", 1000)
    for length, refused in ((7, True), (40, False)):
        at = Layout.dense(2, length)
        with torch.no_grad():
            why = attend_products.refuses(*inputs(at, dtype=torch.bfloat16), Same(), at, at, 0.3)
        assert (why is not None) == refused


def test_it_leaves_training_and_other_machines_to_the_fused_call(monkeypatch):
    at = Layout.dense(2, 9)
    call = (*inputs(at, dtype=torch.bfloat16), Same(), at, at, 0.3)
    assert "backward" in attend_products.refuses(*call)
    monkeypatch.setattr(attend_products, "_fits", lambda: False)
    with torch.no_grad():
        assert "units" in attend_products.refuses(*call)
