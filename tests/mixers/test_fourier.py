"""Fourier mixing equals transformers' FNet and numpy's transform, each sequence at its own length."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from panformer.core.layout import Layout, pack
from panformer.core.part import config
from panformer.ops.backend import record

LENGTHS = [5, 1, 8, 5, 2]


def _mixer(width=6):
    return config("mixers", "fourier").build(width)


def test_equals_transformers():
    fnet = pytest.importorskip("transformers.models.fnet.modeling_fnet", reason="transformers is not installed")
    peer = fnet.FNetBasicFourierTransform(fnet.FNetConfig(hidden_size=6, use_tpu_fourier_optimizations=False))
    x = torch.randn(3, 11, 6, dtype=torch.float64)
    assert torch.equal(_mixer()(x, Layout.dense(3, 11)), peer(x)[0])


def test_packed_sequences_keep_their_own_length():
    xs = [torch.randn(n, 6, dtype=torch.float64) for n in LENGTHS]
    x, at = pack(xs)
    out = _mixer()(x, at)[0].split(LENGTHS)
    for one, y in zip(xs, out, strict=True):
        np.testing.assert_allclose(y.numpy(), np.fft.fft2(one.numpy()).real, rtol=1e-12, atol=1e-12)


def test_sequences_of_one_length_go_together(monkeypatch):
    calls = []
    plain = torch.fft.fft2
    monkeypatch.setattr(torch.fft, "fft2", lambda x, dim: (calls.append(tuple(x.shape)), plain(x, dim=dim))[1])
    x, at = pack([torch.randn(n, 6) for n in LENGTHS])
    _mixer()(x, at)  # the kernel is compared with its reference first
    calls.clear()
    _mixer()(x, at)
    assert sorted(calls) == [(1, 1, 6), (1, 2, 6), (1, 8, 6), (2, 5, 6)]


def test_twice_is_the_reversed_input():
    """The real part of a transform, transformed again: T D times (x_t,d + x_-t,-d) / 2."""
    x = torch.randn(1, 7, 6, dtype=torch.float64)
    at, m = Layout.dense(1, 7), _mixer()
    back = x.roll((-1, -1), (1, 2)).flip(1, 2)
    torch.testing.assert_close(m(m(x, at), at), 7 * 6 * (x + back) / 2)


def test_gradients_once_and_twice():
    at = Layout.padded([4, 2], side="left")
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)

    def run(x):
        return _mixer(3)(x, at).sin()

    assert gradcheck(run, x) and gradgradcheck(run, x)


def test_half_precision_is_computed_wide():
    x = torch.randn(1, 16, 8, dtype=torch.bfloat16)
    with record() as used:
        y = _mixer(8)(x, Layout.dense(1, 16))
    assert used == {"fourier:fft": 1} and y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), torch.fft.fft2(x.float()).real, rtol=2**-8, atol=0)
