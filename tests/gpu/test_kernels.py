"""On a GPU every kernel gives its reference's answers and gradients, and is believed there."""

import warnings

import pytest
import torch

import panformer
from panformer.core.layout import Layout
from panformer.core.part import find, known
from panformer.ops.backend import only, operators, record
from panformer.ops.check import Draw, mixed
from panformer.ops.gated_linear import gated_linear
from panformer.ops.selective_scan import selective_scan

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

GPU = torch.device("cuda", 0)
KERNELS = [(o, k) for o in operators() for k in o.kernels]
ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
MIXERS = [use for use in known("mixers") if not find("mixers", use).lattice and not find("mixers", use).needs]


@pytest.mark.parametrize(("operator", "kernel"), KERNELS, ids=lambda x: x.name)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_it_passes_its_check(operator, kernel, dtype):
    why = kernel.lacks(GPU, dtype)
    assert dtype == torch.float64 or why is None, why
    if why is not None:
        pytest.skip(why)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for grads in (False, True):
            assert operator.check(kernel, GPU, dtype, grads).fault is None


def _scan(dtype):
    draw = Draw(GPU, dtype)
    for batch, length, width, states in ((2, 300, 100, 16), (1, 2, 1, 1), (3, 129, 33, 5)):
        x, b, c, h = (draw(batch, length, n) for n in (width, states, states, 1))
        delta, a, h = draw(batch, length, width).exp() / 5, -draw(width, states).exp(), draw(batch, width, states)
        yield x, delta, a, b, c, None, None
        yield x, delta, a, b, c, draw.flags(0.03, batch, length), h


def _gated(dtype):
    draw = Draw(GPU, dtype)
    for at, state in (
        (Layout.dense(2, 200, device=GPU), True),
        (Layout.packed([5, 130, 1, 64], GPU), False),
        (mixed(GPU), False),
        (Layout.dense(1, 2, device=GPU), True),
    ):
        q, k, v = (draw(at.batch, 2, at.length, n) for n in (32, 32, 48))
        fall = -draw(at.batch, 2, at.length, 32).exp() / 8
        yield q, k, v, fall, at, draw(at.batch, 2, 32, 48) if state else None


@pytest.mark.parametrize(
    ("operator", "calls"), [(selective_scan, _scan), (gated_linear, _gated)], ids=["scan", "gated"]
)
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_triton_is_the_reference(operator, calls, dtype):
    kernel = next(k for k in operator.kernels if k.name == "triton")
    for args in calls(dtype):
        assert kernel.refuses(*args) is None
        results = []
        for run, wide in ((operator.reference, torch.float64), (kernel.run, dtype)):
            own = [
                x.detach().to(wide).requires_grad_() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
                for x in args
            ]
            y, last = run(*own)
            leaves = [x for x in own if isinstance(x, torch.Tensor) and x.is_floating_point()]
            push = torch.linspace(-1, 1, y.numel(), device=GPU).view(y.shape).to(dtype).to(y.dtype)
            results.append([y, last, *torch.autograd.grad([y, last], leaves, [push, torch.ones_like(last)])])
        for i, (one, other) in enumerate(zip(*results, strict=True)):
            gap = float((one - other.double()).abs().max() / one.abs().max().clamp_min(1e-3))
            assert gap < ROUNDING[dtype], f"{i}: {gap:.1e} of the largest value"


@pytest.mark.parametrize("use", MIXERS)
def test_a_mixer_in_float32_and_bfloat16(use):
    """Answers and gradients are those of the references, and no kernel is left out."""
    spec = {
        "width": 16,
        "embed": {"use": "tokens", "vocab": 30},
        "schedule": [{"repeat": 2, "mixer": {"use": use, **find("mixers", use).examples[0]}, "channel": "glu"}],
        "head": {"use": "lm", "vocab": 30},
    }
    model = panformer.build(spec, seed=0).to(GPU).eval()
    x = torch.randint(0, 30, (2, 70), generator=torch.Generator().manual_seed(0)).to(GPU)

    def answer():
        model.zero_grad()
        out = model(x, [70, 41])
        out[0].float().square().mean().backward()
        return [out[0].detach(), *(p.grad for p in model.parameters() if p.grad is not None)]

    with only("reference"):
        want = answer()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        got = answer()
        assert all(bool(t.isfinite().all()) for t in answer())
        model.bfloat16()
        assert all(bool(t.isfinite().all()) for t in answer())
    for one, other in zip(want, got, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("use", "operator"), [("mamba", "selective_scan"), ("gated_linear_attention", "gated_linear")])
def test_the_kernel_for_a_gpu_is_the_one_that_runs(use, operator):
    mixer = find("mixers", use)
    model = mixer.Config(**mixer.examples[0]).build(16).to(GPU)
    for device, kernel in ((GPU, "triton"), (torch.device("cpu"), "blocks")):
        with record() as used:
            model.to(device)(torch.randn(2, 40, 16, device=device), Layout.dense(2, 40, device=device))
        assert used[f"{operator}:{kernel}"] == 1, used
