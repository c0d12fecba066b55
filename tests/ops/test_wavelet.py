"""Wavelet transforms equal PyWavelets where that is critically sampled, and are orthonormal at any length."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from panformer.core.layout import Layout, pack
from panformer.ops.kernels.wavelet_bands import filters, run
from panformer.ops.sequences import octaves
from panformer.ops.wavelet import matrix, reference, wavelet

LENGTHS = [5, 1, 8, 13, 2]
LIKE = torch.zeros((), dtype=torch.float64)


@pytest.mark.parametrize("order", range(1, 11))
def test_filters_equal_pywavelets(order):
    pywt = pytest.importorskip("pywt", reason="PyWavelets is not installed")
    peer = pywt.Wavelet(f"db{order}")
    for ours, theirs in zip(filters(order), (peer.dec_lo, peer.dec_hi), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("order", range(1, 11))
def test_high_bands_do_not_see_polynomials(order):
    """Order p has p moments that vanish: sum_j j^m g_j = 0 for m < p."""
    g = torch.tensor(filters(order)[1], dtype=torch.float64)
    place = torch.arange(2 * order, dtype=torch.float64) / (2 * order)
    for m in range(order):
        assert abs(float((place**m * g).sum())) < 1e-9, f"moment {m}"


@pytest.mark.parametrize("form", [run, reference])
@pytest.mark.parametrize(
    ("n", "order", "levels"), [(16, 1, 4), (16, 2, 2), (24, 3, 3), (32, 4, 3), (4, 4, 1), (2, 3, 1)]
)
def test_equals_pywavelets(form, n, order, levels):
    pywt = pytest.importorskip("pywt", reason="PyWavelets is not installed")
    x = np.random.default_rng(0).standard_normal((2, n, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of filters longer than what they see
        want = np.concatenate(pywt.wavedec(x, f"db{order}", mode="periodization", level=levels, axis=1), 1)
    got = form(torch.tensor(x), Layout.dense(2, n), order, levels, False)
    np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 12, 37])
@pytest.mark.parametrize(("order", "levels"), [(1, 3), (2, 2), (4, 5), (10, 2)])
def test_it_is_orthonormal_at_any_length(n, order, levels):
    w, x = matrix(n, order, levels, LIKE), torch.randn(2, n, 3, dtype=torch.float64)
    torch.testing.assert_close(w @ w.mT, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-11)
    at = Layout.dense(2, n)
    torch.testing.assert_close(run(x, at, order, levels, False), w @ x, rtol=0, atol=1e-11)
    torch.testing.assert_close(run(run(x, at, order, levels, False), at, order, levels, True), x, rtol=0, atol=1e-11)


def test_sequences_in_a_row_are_apart():
    xs = [torch.randn(n, 3, dtype=torch.float64) for n in LENGTHS]
    x, at = pack(xs)
    y = wavelet(x, at, 2, 3, False)
    torch.testing.assert_close(wavelet(y, at, 2, 3, True), x, rtol=0, atol=1e-12)
    for one, got in zip(xs, y[0].split(LENGTHS), strict=True):
        torch.testing.assert_close(got, matrix(len(one), 2, 3, LIKE) @ one, rtol=0, atol=1e-12)


@pytest.mark.parametrize("back", [False, True])
def test_gradients_once_and_twice(back):
    at = Layout.padded([5, 2], side="left")
    x = torch.randn(2, 5, 2, dtype=torch.float64, requires_grad=True)

    def f(x):
        return wavelet(x, at, 2, 2, back).sin()

    assert gradcheck(f, x) and gradgradcheck(f, x)


def test_octaves_count_the_bands():
    at = Layout.packed([8, 5, 1])
    assert octaves(at, 2)[0].tolist() == [0, 0, 1, 1, 2, 2, 2, 2, 0, 0, 1, 2, 2, 0]
    for n in (1, 6, 13):
        sizes = [n]
        for _ in range(3):
            sizes.append(math.ceil(sizes[-1] / 2))
        found = octaves(Layout.dense(1, n), 3)[0]
        assert [int((found >= 3 - i).sum()) for i in range(3)] == [n - s for s in sizes[1:]]
