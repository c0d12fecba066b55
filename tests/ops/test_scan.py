"""The tree form of the scan equals the loop, for every operator, with resets, values and two derivatives."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from panformer.ops.scan import affine, log_affine, matrix, scan

LENGTHS = [1, 2, 3, 5, 8, 13, 32]


def _inputs(kind: str, length: int, batch: int = 2):
    rng = torch.Generator().manual_seed(length)

    def draw(*shape, dtype=torch.float64):
        return torch.randn(batch, length, *shape, generator=rng, dtype=dtype)

    if kind == "affine":
        return affine, (draw(3), draw(3))
    if kind == "matrix":
        return matrix, (draw(3, 3) * 0.5, draw(3, 2))
    if kind == "complex":
        return affine, (draw(3, dtype=torch.complex128), draw(3, dtype=torch.complex128))
    return log_affine, (draw(3), draw(3))


KINDS = ["affine", "matrix", "complex", "log_affine"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", LENGTHS)
def test_tree_is_loop(kind, length):
    op, xs = _inputs(kind, length)
    reset = torch.rand(2, length, generator=torch.Generator().manual_seed(1)) < 0.3
    for flags in (None, reset):
        for a, b in zip(scan(op, xs, flags, "loop"), scan(op, xs, flags, "tree"), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_affine_scan_is_the_recurrence():
    _, (a, b) = _inputs("affine", 9)
    h, start = torch.zeros(2, 3, dtype=a.dtype), torch.ones(2, 3, dtype=a.dtype)
    gain, sums = scan(affine, (a, b))
    for t in range(9):
        h = a[:, t] * h + b[:, t]
        torch.testing.assert_close(sums[:, t], h)
        torch.testing.assert_close(gain[:, t] * start, a[:, : t + 1].prod(1))


def test_log_scan_is_the_recurrence_of_positive_numbers():
    _, (a, b) = _inputs("log_affine", 12)
    b = b.masked_fill(torch.rand(b.shape, generator=torch.Generator().manual_seed(2)) < 0.3, -torch.inf)
    b[0, :3] = -torch.inf  # sums that are still empty
    plain = scan(affine, (a.exp(), b.exp()))[1]
    torch.testing.assert_close(scan(log_affine, (a, b))[1].exp(), plain)
    leaf = b.clone().requires_grad_()
    scan(log_affine, (a, leaf))[1].exp().sum().backward()
    assert leaf.grad.isfinite().all() and (leaf.grad[b == -torch.inf] == 0).all()


def test_log_scan_survives_where_the_plain_one_overflows():
    a = torch.full((1, 2000, 1), 1.0, dtype=torch.float64)
    out = scan(log_affine, (a, torch.zeros_like(a)))[1]
    assert out.isfinite().all() and out[0, -1, 0] > 1900


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["tree", "loop"])
def test_gradients_twice(kind, form):
    op, xs = _inputs(kind, 5, batch=1)
    xs = [x.requires_grad_() for x in xs]
    reset = torch.tensor([[True, False, False, True, False]])

    def run(a, b):
        return scan(op, (a, b), reset, form)

    assert gradcheck(run, xs)
    assert gradgradcheck(run, xs)


@pytest.mark.parametrize("kind", ["affine", "matrix", "complex"])
@pytest.mark.parametrize("form", ["tree", "loop"])
def test_nothing_passes_a_reset_even_where_a_product_across_it_overflows(kind, form):
    op, (a, b) = _inputs(kind, 8, batch=1)
    a, b = (a * 1e70).requires_grad_(), (b * 1e70).requires_grad_()  # four factors fit a float64, eight do not
    reset = torch.tensor([[True, False, False, False, True, False, False, False]])
    out = scan(op, (a, b), reset, form)
    alone = scan(op, (a[:, 4:], b[:, 4:]), None, form)
    for x, y in zip(out, alone, strict=True):
        torch.testing.assert_close(x[:, 4:], y)
    sum(x[:, 4:].abs().sum() for x in out).backward()
    for g in (a.grad, b.grad):
        assert (g[:, :4] == 0).all() and g[:, 4:].isfinite().all()


@pytest.mark.parametrize("kind", ["affine", "matrix", "complex"])
@pytest.mark.parametrize("form", ["tree", "loop"])
def test_a_past_that_overflowed_leaves_the_next_sequence_alone(kind, form):
    """inf before a reset must not come back as 0 * inf in the gradient of what follows."""
    op, (a, b) = _inputs(kind, 8, batch=1)
    a[:, :4], b[:, :4] = a[:, :4] * 1e200, b[:, :4] * 1e200
    reset = torch.tensor([[True, False, False, False, True, False, False, False]])
    results = []
    for parts, flags in (((a, b), reset), ((a[:, 4:], b[:, 4:]), None)):
        leaves = [x.clone().requires_grad_() for x in parts]
        out = [x[:, -4:] for x in scan(op, tuple(leaves), flags, form)]
        sum(x.abs().sum() for x in out).backward()
        results.append([*out, *(x.grad[:, -4:] for x in leaves)])
    for x, y in zip(*results, strict=True):
        torch.testing.assert_close(x, y)


def test_any_tree_and_any_operator():
    xs = {"max": torch.tensor([[1.0, 3.0, 2.0, 5.0, 4.0]])}
    out = scan(lambda a, b: {"max": torch.maximum(a["max"], b["max"])}, xs)
    assert out["max"].tolist() == [[1.0, 3.0, 3.0, 5.0, 5.0]]


def test_work_grows_with_length():
    calls = []

    def op(a, b):
        calls.append(a.shape[1])
        return a + b

    for n in (64, 128, 256):
        calls.clear()
        scan(op, torch.ones(1, n))
        assert sum(calls) < 2 * n
