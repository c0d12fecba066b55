"""The masked mixer is a lower triangle of weights, and positions without weights are refused."""

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config

WIDTH = 6


def _mixer(heads=1, length=9):
    torch.manual_seed(0)
    m = config("mixers", {"use": "masked_mixer", "heads": heads, "length": length}).build(WIDTH).double()
    with torch.no_grad():
        m.bias.normal_()
    return m


def test_is_the_masked_convolution_over_positions():
    """Tokens are the channels of a convolution of kernel 1 whose weights above the diagonal are 0."""
    m, x = _mixer(), torch.randn(2, 9, WIDTH, dtype=torch.float64)
    want = torch.nn.functional.conv1d(m.v(x), m.weight[0].tril()[..., None], m.bias[0])
    torch.testing.assert_close(m(x, Layout.dense(2, 9)), m.o(want))


def test_heads_have_triangles_of_their_own():
    m, x = _mixer(heads=2), torch.randn(1, 7, WIDTH, dtype=torch.float64)
    v = m.v(x)[0].chunk(2, -1)
    want = torch.cat([m.weight[h, :7, :7].tril() @ v[h] + m.bias[h, :7, None] for h in range(2)], -1)
    torch.testing.assert_close(m(x, Layout.dense(1, 7))[0], m.o(want))


def test_a_position_without_weights_is_refused():
    with pytest.raises(InputError, match="length is 9"):
        _mixer()(torch.randn(1, 10, WIDTH, dtype=torch.float64), Layout.dense(1, 10))
