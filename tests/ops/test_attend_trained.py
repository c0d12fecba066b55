"""Attention in training as products with a softmax between: the reference and its gradients, and only where it says so."""

import pytest
import torch

from panformer.core.layout import Layout
from panformer.core.score import Causal, Same, Window
from panformer.ops import backend
from panformer.ops.attend import attend, reference
from panformer.ops.kernels import attend_products, attend_trained

CAUSAL = Same() & Causal()


@pytest.fixture(autouse=True)
def _units(monkeypatch):
    monkeypatch.setattr(attend_products, "_fits", lambda: True)
    monkeypatch.setattr(attend_products, "LEAST", 0)


def inputs(at, heads=4, groups=4, dtype=torch.float64, size=8):
    rng = torch.Generator().manual_seed(0)
    rows = [torch.randn(at.batch, at.length, h, size, generator=rng, dtype=dtype) for h in (heads, groups, groups)]
    return [x.transpose(1, 2).requires_grad_() for x in rows]


def slopes(run, leaves, score, at):
    y = run(*leaves, score, at, at, 0.3)
    return [y, *torch.autograd.grad(y.sin().sum(), leaves)]


@pytest.mark.parametrize("score", [Same(), CAUSAL])
@pytest.mark.parametrize("few", [1, 5, 8, 64])
@pytest.mark.parametrize("size", [2, 40], ids=["made again", "kept"])
def test_pieces_are_the_reference(score, few, size, monkeypatch):
    monkeypatch.setattr(attend_trained, "FEW", few)
    monkeypatch.setattr(attend_trained, "ROOM", 2 * few * 23)  # two heads at a time
    at = Layout.dense(3, 23)
    got, want = (slopes(run, inputs(at, 3, 3, size=size), score, at) for run in (attend_trained.run, reference))
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("size", "kept"), [(2, False), (40, True)])
def test_what_is_kept_never_outgrows_what_came_in(size, kept):
    at = Layout.dense(2, 64)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        leaves = inputs(at, size=size)
        attend_trained.run(*leaves, CAUSAL, at, at, 0.3)
    assert (len(saved) > 3) == kept and sum(saved[3:]) <= 4 * leaves[0].numel()


@pytest.mark.parametrize("score", [Same(), CAUSAL])
@pytest.mark.parametrize("length", [1, 7, 64, 197, 600])
def test_bf16_errs_no_more_than_twice_the_reference_in_bf16(score, length):
    at = Layout.dense(2, length)
    half = inputs(at, dtype=torch.bfloat16, size=32)
    want = slopes(reference, [x.detach().double().requires_grad_() for x in half], score, at)
    got, own = (slopes(run, half, score, at) for run in (attend_trained.run, reference))
    for one, other, right in zip(got, own, want, strict=True):
        assert (one.double() - right).norm() <= 2 * (other.double() - right).norm() + 1e-3 * right.norm()


def test_keys_far_from_zero_lose_nothing():
    at = Layout.dense(1, 200)
    q, k, v = inputs(at, dtype=torch.bfloat16, size=32)
    far = (k.detach() + 40).requires_grad_()
    want = slopes(reference, [x.detach().double().requires_grad_() for x in (q, far, v)], CAUSAL, at)
    for one, right in zip(slopes(attend_trained.run, (q, far, v), CAUSAL, at), want, strict=True):
        assert (one.double() - right).norm() <= 0.03 * right.norm()


def test_autocast_changes_nothing():
    at = Layout.dense(2, 150)
    plain = slopes(attend_trained.run, inputs(at, dtype=torch.bfloat16), CAUSAL, at)
    with torch.autocast("cpu", torch.bfloat16):
        y = attend_trained.run(*inputs(at, dtype=torch.bfloat16), CAUSAL, at, at, 0.3)
    assert y.dtype == torch.bfloat16 and torch.equal(y, plain[0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dtype": torch.float32}, "bf16"),
        ({"score": CAUSAL & Window(3)}, "hide"),
        ({"at": Layout.padded([3, 9])}, "padding"),
        ({"at": Layout.dense(1, attend_products.MOST + 1)}, "quicker"),
        ({"groups": 2}, "shared"),
        ({"dropout": 0.1}, "dropped"),
        ({"cap": 5.0}, "capped"),
    ],
)
def test_it_says_what_it_refuses(change, says):
    at = change.get("at", Layout.dense(2, 9))
    q, k, v = inputs(at, 4, change.get("groups", 4), dtype=change.get("dtype", torch.bfloat16))
    call = (q, k, v, change.get("score", CAUSAL), at, at, 0.3)
    assert says in attend_trained.refuses(*call, change.get("dropout", 0.0), change.get("cap"))


def test_it_serves_training_and_nothing_else(monkeypatch):
    at = Layout.dense(2, 150)
    call = (*inputs(at, dtype=torch.bfloat16), CAUSAL, at, at, 0.3)
    with backend.record() as used:
        attend(*call)
        with torch.no_grad():
            attend(*call)
    assert used == {"attend:trained": 1, "attend:sdpa": 1}
    monkeypatch.setattr(attend_products, "_fits", lambda: False)
    assert "units" in attend_trained.refuses(*call)
