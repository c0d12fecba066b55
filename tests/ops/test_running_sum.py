"""Running sums that start afresh: the scan, the matrix and plain addition agree."""

import pytest
import torch
from torch.autograd import gradcheck

from panformer.ops.kernels.running_sum_tree import run
from panformer.ops.running_sum import reference


def _line(length=9):
    rng = torch.Generator().manual_seed(length)
    x, start = (torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in ((2, length, 3), (2, 3)))
    return x, torch.rand(2, length, generator=rng) < 0.3, start


@pytest.mark.parametrize("form", [run, reference])
@pytest.mark.parametrize("begun", [False, True])
def test_is_addition(form, begun):
    x, fresh, start = _line()
    for row in range(2):
        total = start[row] if begun else torch.zeros(3, dtype=torch.float64)
        for t in range(9):
            total = (0 if fresh[row, t] else total) + x[row, t]
            torch.testing.assert_close(form(x, fresh, start if begun else None)[row, t], total, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 9])
def test_gradients(length):
    x, fresh, start = _line(length)
    assert gradcheck(lambda x, s: run(x, fresh, s), (x.requires_grad_(), start.requires_grad_()))
    weight = torch.randn_like(x)
    a, b = (torch.autograd.grad((f(x, fresh, start) * weight).sum(), (x, start)) for f in (run, reference))
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_what_is_large_before_a_start_is_not_felt_after_it():
    x = torch.tensor([1e300, 1e300, 1.0, 2.0], dtype=torch.float64)[None, :, None] * 1.7
    fresh = torch.tensor([[True, False, True, False]])
    assert run(x, fresh, None)[0, 2:, 0].tolist() == [1.7, 1.7 * 3]
