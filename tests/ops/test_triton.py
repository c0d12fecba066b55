"""Kernels in Triton equal their references: in Triton's interpreter on a CPU, in tests/gpu on a device."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from panformer.core.layout import Layout
from panformer.ops.backend import record
from panformer.ops.check import Draw, mixed
from panformer.ops.gated_linear import gated_linear
from panformer.ops.kernels import gated_linear_triton, selective_scan_triton
from panformer.ops.selective_scan import selective_scan

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="run by the test below, in Triton's interpreter")
CPU, FP32 = torch.device("cpu"), torch.float32


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Short blocks: several in a short input, and quick to interpret."""
    for module, name, value in (
        (selective_scan_triton, "TOKENS", 8), (selective_scan_triton, "CHANNELS", 8), (gated_linear_triton, "SIZE", 16),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


def test_in_the_interpreter():
    if INTERPRETED:
        pytest.skip("this is it")
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    call = [sys.executable, "-m", "pytest", __file__, "-p", "no:randomly", "-p", "no:xdist", "-W", "ignore"]
    done = subprocess.run(call, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-3000:]


def test_it_says_why_it_refuses():
    draw = Draw(CPU, torch.float64)
    x, b = draw(1, 3, 2), draw(1, 3, 2)
    for args, told in (
        ((x, x, draw(2, 2), b, b, None, None), "float64: sums are kept in float32 here"),
        ((x[:, :1], x[:, :1], draw(2, 2), b[:, :1], b[:, :1], None, None), "one token: the formula itself is fastest"),
        ((x, x, draw(2, 2), draw(2, 2), b, None, None), "the weights do not depend on time"),
    ):
        assert selective_scan.why(*args)["triton"] == told
    if not INTERPRETED:
        x, b = x.float(), b.float()
        assert selective_scan.why(x, x, draw(2, 2), b, b, None, None)["triton"] == "not a CUDA device"


def _compare(operator, inputs, rest, tol=1e-4):
    kernel = next(k for k in operator.kernels if k.name == "triton")
    results = []
    for run, wide in ((operator.reference, torch.float64), (kernel.run, None)):
        leaves = [z.clone().to(wide or z.dtype).requires_grad_() for z in inputs]
        y, last = run(*rest(leaves))
        (y.double().sin().sum() + last.double().cos().sum()).backward()
        results.append([y, last, *(z.grad for z in leaves)])
    for one, other in zip(*results, strict=True):
        gap = (one - other.double()).abs().max() / one.abs().max()
        assert gap < tol, f"{gap:.1e}"


@interpreted
@pytest.mark.parametrize(("batch", "length", "width", "states"), [(2, 21, 11, 3), (1, 2, 1, 1), (1, 33, 5, 4)])
@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("state", [False, True])
def test_selective_scan(batch, length, width, states, resets, state):
    draw = Draw(CPU, FP32)
    x, b, c = draw(batch, length, width), draw(batch, length, states), draw(batch, length, states)
    inputs = [x, draw(batch, length, width).exp() * 0.3, -draw(width, states).exp(), b, c]
    inputs += [draw(batch, width, states)] if state else []
    reset = draw.flags(0.1, batch, length) if resets else None
    _compare(selective_scan, inputs, lambda z: (*z[:5], reset, z[5] if state else None))


@interpreted
def test_nothing_passes_a_reset_and_no_step_leaves_the_state():
    draw = Draw(CPU, FP32)
    x, b, c, a = draw(1, 30, 4), draw(1, 30, 2), draw(1, 30, 2), -draw(4, 2).exp()
    reset = torch.zeros(1, 30, dtype=torch.bool)
    reset[0, [0, 13]] = True
    x[:, :13] *= 1e30
    leaves = [z.requires_grad_() for z in (x, draw(1, 30, 4).exp(), a, b, c)]
    y, _ = selective_scan(*leaves, reset, None)
    alone, last = selective_scan(*(z[:, 13:] if z.dim() == 3 else z for z in leaves), None, None)
    torch.testing.assert_close(y[:, 13:], alone)
    grads = torch.autograd.grad(y[:, 13:].sum(), [leaves[i] for i in (0, 1, 3, 4)])
    assert all((g[:, :13] == 0).all() for g in grads)
    still = torch.zeros(1, 20, 4)
    kept = selective_scan(still + 1, still, a, *(torch.ones(1, 20, 2),) * 2, None, last.detach())[1]
    assert torch.equal(kept, last)


@interpreted
@pytest.mark.parametrize("name", ["dense", "packed", "padded", "mixed", "short"])
@pytest.mark.parametrize("state", [False, True])
def test_gated_linear(name, state):
    at = {
        "dense": Layout.dense(2, 37), "packed": Layout.packed([5, 20, 1, 10]), "padded": Layout.padded([20, 9]),
        "mixed": mixed(CPU), "short": Layout.dense(1, 2),
    }[name]  # fmt: skip
    if state and name in ("packed", "mixed"):
        pytest.skip("a state belongs to one sequence a row")
    draw = Draw(CPU, FP32)
    q, k, v = (draw(at.batch, 2, at.length, n) for n in (5, 5, 3))
    fall = -draw(at.batch, 2, at.length, 5).exp() * torch.tensor([0.1, 1.0, 900.0, 1.0, 0.01])
    inputs = [q, k, v, fall] + ([draw(at.batch, 2, 5, 3)] if state else [])
    _compare(gated_linear, inputs, lambda z: (*z[:4], at, z[4] if state else None))


@interpreted
def test_narrow_numbers_second_derivatives_and_the_record():
    draw = Draw(CPU, torch.bfloat16)
    inputs = selective_scan.sample(CPU, torch.bfloat16)
    with record() as used:
        y, last = selective_scan(*inputs)
        z, _ = gated_linear(*gated_linear.sample(CPU, torch.bfloat16))
    assert used == {"selective_scan:triton": 1, "gated_linear:triton": 1}
    assert y.dtype == z.dtype == torch.bfloat16 and last.dtype == FP32
    draw = Draw(CPU, FP32)
    x, w, a = draw(1, 5, 2), draw(1, 5, 2), -draw(2, 2).exp()
    for operator, args in (
        (selective_scan, (x, x.exp(), a, w, w, None, None)),
        (gated_linear, (x[:, None], w[:, None], x[:, None], -w[:, None].exp(), Layout.dense(1, 5), None)),
    ):
        slopes = []
        for kernel in ("reference", "triton"):
            run = operator.reference if kernel == "reference" else operator.kernels[0].run
            own = args[0].clone().requires_grad_()
            (g,) = torch.autograd.grad(run(own, *args[1:])[0].sin().sum(), own, create_graph=True)
            slopes.append(torch.autograd.grad(g.square().sum(), own)[0])
        torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-3)
