"""Neurons fire as written, forget nothing they should keep, and train by the slope that is declared."""

import math

import pytest
import torch

from panformer.core.layout import Layout
from panformer.ops.kernels.spike_adjoint import ADJOINT
from panformer.ops.spike import Neuron, fire, reference, step


def _alone(xs, n):
    """One neuron, number by number."""
    v, out, last = 0.0, [], 0.0
    for x in xs:
        v = n.decay * v + x
        s = 1.0 if v >= n.threshold else 0.0
        last = v = v - n.threshold * s if n.reset == "subtract" else v * (1 - s)
        out.append(s)
    return out, last


@pytest.mark.parametrize("n", [Neuron(), Neuron(0.9, 0.5, "zero"), Neuron(1.0, 2.0), Neuron(0.0, 0.3)])
def test_fires_as_written(n):
    torch.manual_seed(0)
    x = torch.randn(2, 40, 3, dtype=torch.float64)
    spikes, v = fire(x, n, Layout.dense(2, 40), None, False)
    assert 0 < spikes.mean() < 1, "some fire, some do not"
    for row in range(2):
        for c in range(3):
            out, last = _alone(x[row, :, c].tolist(), n)
            assert spikes[row, :, c].tolist() == out
            assert math.isclose(v[row, c], last, abs_tol=1e-12)


def test_soft_reset_keeps_what_is_over_the_threshold():
    x = torch.tensor([2.5, 0.0, 0.0]).view(1, 3, 1)
    soft, _ = fire(x, Neuron(1.0, 1.0, "subtract"), Layout.dense(1, 3), None, False)
    hard, _ = fire(x, Neuron(1.0, 1.0, "zero"), Layout.dense(1, 3), None, False)
    assert soft.flatten().tolist() == [1, 1, 0] and hard.flatten().tolist() == [1, 0, 0]


def test_a_constant_input_without_a_leak_fires_at_its_own_rate():
    rate = fire(torch.full((1, 400, 1), 0.3), Neuron(1.0), Layout.dense(1, 400), None, False)[0].mean()
    assert abs(float(rate) - 0.3) < 1 / 400


def test_the_slope_is_the_one_declared_and_there_is_none_without():
    z = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
    s = step(z, True)
    assert torch.equal(s.detach(), step(z.detach(), False)) and set(s.tolist()) == {0.0, 1.0}
    (found,) = torch.autograd.grad(s.sum(), z)
    p = 1 / (1 + torch.exp(-4 * z.detach()))
    torch.testing.assert_close(found, 4 * p * (1 - p), rtol=0, atol=1e-12)
    assert not step(z, False).requires_grad


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("slope", [True, False])
def test_the_written_gradient_is_that_of_the_loop(reset, slope):
    torch.manual_seed(3)
    n, seg = Neuron(0.8, 0.6, reset), torch.tensor([[0, 0, 0, 1, 1, -1, 2, -1], [-1, 0, 0, 0, 0, 0, -1, 1]])
    for at in (Layout(seg, torch.zeros(2, 8, 1, dtype=torch.int64)), Layout.dense(2, 8)):
        x = at.clean(torch.randn(2, 8, 3, dtype=torch.float64)).requires_grad_()
        v = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
        for state in (v, None):
            results = []
            for run in (reference, ADJOINT.run):
                spikes, last = run(x, n, at, state, slope)
                total = (spikes * torch.arange(48).view(2, 8, 3).cos()).sum() + last.sin().sum()
                results.append([spikes, last, *torch.autograd.grad(total, [x, v], allow_unused=True)])
            for want, got in zip(*results, strict=True):
                assert (want is None) == (got is None)
                if want is not None:
                    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_the_gradient_through_time_is_that_of_the_potential_with_resets_held(reset):
    """ds_t / dx_s = slope(v_t) prod of what stays from s to t, which is decay, and 0 past a spike that takes all."""
    torch.manual_seed(1)
    n, x = Neuron(0.7, 0.8, reset), torch.randn(1, 12, 1, dtype=torch.float64, requires_grad=True)
    spikes, _ = fire(x, n, Layout.dense(1, 12), None, True)
    v, before, fired = 0.0, [], spikes.flatten().tolist()
    assert 0 < sum(fired) < 12
    for value, s in zip(x.flatten().tolist(), fired, strict=True):
        v = n.decay * v + value
        before.append(v)
        v = v - n.threshold * s if reset == "subtract" else v * (1 - s)
    for t in range(12):
        (got,) = torch.autograd.grad(spikes[0, t, 0], x, retain_graph=True)
        p = 1 / (1 + math.exp(-4 * (before[t] / n.threshold - 1)))
        for s in range(12):
            stays = math.prod(n.decay * (1 - fired[i] if reset == "zero" else 1) for i in range(s, t))
            want = 4 / n.threshold * p * (1 - p) * stays if s <= t else 0.0
            assert math.isclose(got[0, s, 0], want, abs_tol=1e-12), (s, t)


def test_padding_and_borders_change_nothing_and_pass_no_slope():
    torch.manual_seed(2)
    n, xs = Neuron(0.8, 0.5), [torch.randn(t, 3, dtype=torch.float64, requires_grad=True) for t in (5, 1, 7)]
    alone = [fire(x[None], n, Layout.dense(1, len(x)), None, True)[0][0] for x in xs]
    together, _ = fire(torch.cat(xs)[None], n, Layout.packed([5, 1, 7]), None, True)
    assert torch.equal(torch.cat(alone), together[0])
    grads = torch.autograd.grad(together[0, 6:].sum(), xs)
    assert not grads[0].any() and not grads[1].any() and grads[2].any()
    at = Layout.padded([5, 1, 7], side="left")
    padded = torch.zeros(3, 7, 3, dtype=torch.float64)
    for i, x in enumerate(xs):
        padded[i, 7 - len(x) :] = x.detach()
    spikes, _ = fire(padded, n, at, torch.zeros(3, 3, dtype=torch.float64), False)
    assert all(torch.equal(spikes[i, 7 - len(x) :], alone[i].detach()) for i, x in enumerate(xs))


def test_a_large_potential_does_not_fire_at_padding():
    at = Layout.padded([1], size=4)
    x = torch.zeros(1, 4, 1)
    x[0, 0] = 5.0
    spikes, v = fire(x, Neuron(0.5), at, None, False)
    assert spikes.flatten().tolist() == [1, 0, 0, 0] and v.item() == 4.0
