"""Weighed octaves: all gains 1 change nothing, one alone is an average, and both transforms keep lengths apart."""

import pytest
import torch

from panformer.core.layout import Layout, pack
from panformer.core.part import config

TREES = ({"use": "dct"}, {"use": "dct", "kind": 4}, {"use": "wavelet"}, {"use": "wavelet", "order": 1})


def _mixer(tree, gain):
    m = config("mixers", tree).build(3).double()
    with torch.no_grad():
        m.gain.copy_(torch.tensor(gain, dtype=torch.float64)[:, None].expand_as(m.gain))
    return m


@pytest.mark.parametrize("tree", TREES)
def test_gains_of_1_leave_the_input(tree):
    x, at = pack([torch.randn(n, 3, dtype=torch.float64) for n in (5, 1, 8, 17)])
    torch.testing.assert_close(_mixer(tree, [1.0] * 5)(x, at), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("use", "options"), [("dct", {}), ("wavelet", {"order": 1}), ("wavelet", {"order": 3})])
def test_the_lowest_octave_is_the_mean(use, options):
    """Of 16 tokens over 4 levels it has one coefficient, that of the constant."""
    x = torch.randn(2, 16, 3, dtype=torch.float64)
    got = _mixer({"use": use, **options}, [1.0, 0, 0, 0, 0])(x, Layout.dense(2, 16))
    torch.testing.assert_close(got, x.mean(1, keepdim=True).expand_as(x), rtol=0, atol=1e-12)


def test_the_highest_octave_of_haars_wavelet_is_what_neighbours_differ_by():
    x = torch.randn(1, 6, 3, dtype=torch.float64)
    got = _mixer({"use": "wavelet", "order": 1}, [0.0, 0, 0, 0, 1])(x, Layout.dense(1, 6))
    half = (x[:, ::2] - x[:, 1::2]) / 2
    torch.testing.assert_close(got, torch.stack((half, -half), 2).flatten(1, 2), rtol=0, atol=1e-12)


def test_a_wavelet_sees_what_is_near_and_a_cosine_everything():
    x = torch.randn(1, 64, 3, dtype=torch.float64, requires_grad=True)
    reach = {}
    for use in ("wavelet", "dct"):
        y = _mixer({"use": use, "levels": 2}, [0.3, 1.0, -0.5])(x, Layout.dense(1, 64))
        g = torch.autograd.grad(y[0, 30].sum(), x)[0][0].abs().amax(1)
        reach[use] = int((g > 1e-9).sum())
    assert reach["wavelet"] < 24 and reach["dct"] > 60, reach
