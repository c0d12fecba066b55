"""Linear attention under a bias of distance: the transform equals the matrix in every batch form, and the plain formula."""

import pytest
import torch
from torch.autograd import gradcheck

from panformer.core.layout import Layout
from panformer.ops.backend import only
from panformer.ops.kernels import toeplitz_linear_fft
from panformer.ops.toeplitz_linear import reference, toeplitz_linear

from .batches import BATCHES, MIXED

HEADS, SIZE, VALUE = 2, 3, 4
LAYOUTS = {**BATCHES, "later": Layout.dense(2, 10, start=500), "one": Layout.dense(2, 1)}


@pytest.fixture(autouse=True)
def always(monkeypatch):
    monkeypatch.setattr(toeplitz_linear_fft, "LEAST", 0)
    monkeypatch.setattr(toeplitz_linear_fft, "WIDE", 0)


def _inputs(at, seed=0, spare=0):
    rng = torch.Generator().manual_seed(seed)
    shapes = [(at.batch, HEADS, at.length, n) for n in (SIZE, SIZE, VALUE)]
    shapes.append((HEADS, 2 * (at.longest + spare) - 1))
    return [torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("room", [1, 1 << 18])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("spare", [0, 3])
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_transform_is_the_matrix(name, causal, spare, room, monkeypatch):
    monkeypatch.setattr("panformer.ops.kernels.room.ROOM", room)
    at = LAYOUTS[name]
    results = []
    for backend in ("reference", "fft"):
        leaves = [z.requires_grad_() for z in _inputs(at, spare=spare)]
        with only(backend, toeplitz_linear):
            y = at.clean(toeplitz_linear(*leaves, at, causal).transpose(1, 2))
        results.append([y, *torch.autograd.grad(y.sin().sum(), leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", ["reference", "fft"])
@pytest.mark.parametrize("causal", [True, False])
def test_is_the_sum_written_out(backend, causal):
    at = Layout.packed([4, 6])
    q, k, v, bias = _inputs(at)
    with only(backend, toeplitz_linear):
        y = toeplitz_linear(q, k, v, bias, at, causal)
    for h in range(HEADS):
        for start, length in ((0, 4), (4, 6)):
            for i in range(length):
                total = torch.zeros(VALUE, dtype=torch.float64)
                for j in range(i + 1 if causal else length):
                    weight = q[0, h, start + i] @ k[0, h, start + j] * bias[h, i - j + 5].exp()
                    total += weight * v[0, h, start + j]
                torch.testing.assert_close(y[0, h, start + i], total)


@pytest.mark.parametrize("causal", [True, False])
def test_gradients_of_the_transform(causal):
    leaves = [z.requires_grad_() for z in _inputs(MIXED)]
    assert gradcheck(lambda *z: toeplitz_linear_fft.run(*z, MIXED, causal), leaves, fast_mode=True)


def test_later_tokens_leave_a_trace_below_rounding_alone():
    at = Layout.dense(1, 300)
    q, k, v, bias = _inputs(at)
    other = v.clone()
    other[:, :, 150:] += 1000
    one, two = (toeplitz_linear_fft.run(q, k, z, bias, at, True)[:, :, :150] for z in (v, other))
    exact = reference(q, k, v, bias, at, True)[:, :, :150]
    apart = (one - two).abs().max()
    assert 0 < apart < 1e-9 * exact.abs().max()  # it is there, and it is no more than rounding of the numbers put in


def test_short_sequences_are_left_to_the_matrix(monkeypatch):
    monkeypatch.setattr(toeplitz_linear_fft, "LEAST", 256)
    told = {n: toeplitz_linear.why(*_inputs(Layout.dense(1, n)), Layout.dense(1, n), True)["fft"] for n in (255, 256)}
    assert "256" in told[255] and told[256] is None
