"""Cosine transforms equal scipy's and their matrices, undo themselves, and keep to one sequence."""

import numpy as np
import pytest
import torch
from scipy import fft
from torch.autograd import gradcheck, gradgradcheck

from panformer.core.layout import Layout, pack
from panformer.ops.cosine import cosine, matrix, reference, traced
from panformer.ops.kernels.cosine_fft import run

LENGTHS = [5, 1, 8, 5, 2]
LIKE = torch.zeros((), dtype=torch.float64)


@pytest.mark.parametrize("form", [run, reference])
@pytest.mark.parametrize(("kind", "back"), [(2, False), (2, True), (4, False), (4, True)])
@pytest.mark.parametrize("n", [1, 2, 7, 16, 37])
def test_equals_scipy(form, kind, back, n):
    x = torch.randn(2, n, 3, dtype=torch.float64)
    want = (fft.idct if back else fft.dct)(x.numpy(), type=kind, axis=1, norm="ortho")
    np.testing.assert_allclose(form(x, Layout.dense(2, n), kind, back).numpy(), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [2, 4])
@pytest.mark.parametrize("n", [1, 2, 9, 100])
def test_the_matrix_is_orthonormal(kind, n):
    c = matrix(n, kind, LIKE)
    torch.testing.assert_close(c @ c.mT, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [2, 4])
def test_back_undoes_it_in_any_layout(kind):
    xs = [torch.randn(n, 3, dtype=torch.float64) for n in LENGTHS]
    x, at = pack(xs)
    y = cosine(x, at, kind, False)
    torch.testing.assert_close(cosine(y, at, kind, True), x, rtol=1e-12, atol=1e-12)
    for one, got in zip(xs, y[0].split(LENGTHS), strict=True):
        torch.testing.assert_close(got, matrix(len(one), kind, LIKE) @ one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kind", "back"), [(2, False), (2, True), (4, True)])
def test_the_form_for_graphs_is_the_reference(kind, back):
    x, at = torch.randn(3, 7, 2, dtype=torch.float64), Layout.padded([7, 4, 1])
    torch.testing.assert_close(traced(x, at, kind, back), reference(x, at, kind, back), rtol=0, atol=1e-12)


def test_a_constant_has_one_coefficient():
    y = cosine(torch.ones(1, 9, 1, dtype=torch.float64), Layout.dense(1, 9), 2, False)[0, :, 0]
    torch.testing.assert_close(y, torch.tensor([3.0] + [0.0] * 8, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kind", "back"), [(2, False), (2, True), (4, False)])
def test_gradients_once_and_twice(kind, back):
    at = Layout.padded([4, 3], side="left")
    x = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)

    def f(x):
        return cosine(x, at, kind, back).sin()

    assert gradcheck(f, x) and gradgradcheck(f, x)


def test_large_angles_are_exact_in_single_precision():
    """Row 4095 of 4096 turns 4095 times: counted in whole eighths, the matrix is as exact as the type."""
    one = matrix(4096, 2, torch.zeros(()))[-1]
    torch.testing.assert_close(one.double(), matrix(4096, 2, LIKE)[-1], rtol=0, atol=1e-7)
