"""The selective scan: blocks and tree equal the loop over time, in values, gradients and last states."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from panformer.ops import selective_scan as module
from panformer.ops.backend import only, record
from panformer.ops.kernels import selective_scan_blocks
from panformer.ops.selective_scan import selective_scan

KERNELS = ["blocks", "tree"]


def _inputs(batch=2, length=21, width=5, states=3, fixed=False, seed=0):
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    weights = (width, states) if fixed else (batch, length, states)
    x, delta, a = draw(batch, length, width), draw(batch, length, width).exp() * 0.3, -draw(width, states).exp()
    return [x, delta, a, draw(*weights), draw(*weights), draw(batch, width, states)]


def _call(inputs, reset=None, backend="reference"):
    *rest, h = inputs
    with only(backend, selective_scan):
        return selective_scan(*rest, reset, h)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(("batch", "length", "width"), [(2, 21, 5), (1, 2, 1), (1, 9, 1), (3, 2, 4)])
def test_kernel_is_the_loop(monkeypatch, kernel, fixed, batch, length, width):
    monkeypatch.setattr(selective_scan_blocks, "CACHE", 1)  # blocks of the shortest length: several in 21 tokens
    inputs = _inputs(batch, length, width, fixed=fixed)
    reset = torch.rand(batch, length, generator=torch.Generator().manual_seed(3)) < 0.2
    for flags in (None, reset):
        grads = []
        for backend in ("reference", kernel):
            leaves = [z.clone().requires_grad_() for z in inputs]
            y, h = _call(leaves, flags, backend)
            (y.sin().sum() + h.cos().sum()).backward()
            grads.append([y.detach(), h.detach(), *(z.grad for z in leaves)])
        for one, other in zip(*grads, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


def test_loop_is_the_formula():
    x, delta, a, b, c, h = _inputs(batch=1, length=4)
    y, last = module.reference(x, delta, a, b, c, None, h)
    state = h[0]
    for t in range(4):
        state = torch.exp(delta[0, t, :, None] * a) * state + (delta[0, t] * x[0, t])[:, None] * b[0, t]
        torch.testing.assert_close(y[0, t], state @ c[0, t])
    torch.testing.assert_close(last[0], state)


@pytest.mark.parametrize("fixed", [False, True])
def test_gradients_once_and_twice(monkeypatch, fixed):
    monkeypatch.setattr(selective_scan_blocks, "CACHE", 1)
    monkeypatch.setattr(selective_scan_blocks, "SHORTEST", 2)
    leaves = [z.requires_grad_() for z in _inputs(1, 5, 2, 2, fixed)]
    reset = torch.tensor([[True, False, False, True, False]])

    def run(*z):
        return selective_scan(*z[:5], reset, z[5])

    assert gradcheck(run, leaves)
    assert gradgradcheck(run, leaves)


@pytest.mark.parametrize("backend", ["reference", *KERNELS])
def test_nothing_passes_a_reset(backend):
    inputs = _inputs(1, 12)
    reset = torch.zeros(1, 12, dtype=torch.bool)
    reset[0, [0, 7]] = True
    inputs[0][:, :7] *= 1e300
    leaves = [z.requires_grad_() for z in inputs]
    y, _ = _call(leaves, reset, backend)
    alone, _ = _call([z[:, 7:] if z.dim() == 3 and z.shape[1] == 12 else z for z in leaves[:5]] + [leaves[5] * 0], None)
    torch.testing.assert_close(y[:, 7:], alone)
    grads = torch.autograd.grad(y[:, 7:].sum(), [leaves[i] for i in (0, 1, 3, 4, 5)])
    assert all((g[:, :7] == 0).all() for g in grads[:4]) and (grads[4] == 0).all()


def test_zero_delta_leaves_the_state():
    x, delta, a, b, c, h = _inputs()
    delta[:, 5:] = 0
    for backend in ("reference", *KERNELS):
        _, last = _call([x, delta, a, b, c, h], None, backend)
        _, early = _call([x[:, :5], delta[:, :5], a, b[:, :5], c[:, :5], h], None, backend)
        torch.testing.assert_close(last, early)


def test_bf16_is_summed_in_float32():
    narrow = [z.bfloat16() for z in _inputs(length=200)[:5]]
    exact = module.reference(*(z.double() for z in narrow), None, None)[0]
    for backend in ("reference", *KERNELS):
        with only(backend):
            y, last = selective_scan(*narrow, None, None)
        assert y.dtype == torch.bfloat16 and last.dtype == torch.float32
        assert (y.double() - exact).abs().max() <= 2**-8 * exact.abs().max(), backend


def test_memory_kept_for_backward_is_linear_and_small():
    def kept(length):
        sizes = []
        leaves = [z.requires_grad_() for z in _inputs(1, length, 64, 16)]
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.numel()), t)[1], lambda t: t):
            selective_scan(*leaves[:5], None, leaves[5])
        return sum(sizes)

    small, large = kept(512), kept(1024)
    assert large < 2.1 * small and large < 1024 * 64 * 16 / 2  # far less than all states


def test_the_record_names_the_kernel():
    with record() as used:
        selective_scan(*_inputs()[:5], None, None)
        selective_scan(*_inputs(length=1)[:5], None, None)
    assert used == {"selective_scan:blocks": 1, "selective_scan:reference": 1}
