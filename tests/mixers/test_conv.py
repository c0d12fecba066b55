"""Convolution mixers equal torch's convolutions between their two maps."""

import pytest
import torch
from torch.nn import functional as F

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config

WIDTH = 6


def _mixer(use, **options):
    torch.manual_seed(0)
    m = config("mixers", {"use": use, "bias": True, **options}).build(WIDTH).double()
    torch.nn.init.normal_(m.offset)
    return m


@pytest.mark.parametrize(("kernel", "causal", "margins"), [(5, False, (2, 2)), (4, False, (2, 1)), (4, True, (3, 0))])
def test_equals_conv1d(kernel, causal, margins):
    m = _mixer("conv", kernel=kernel, causal=causal)
    x = torch.randn(2, 9, WIDTH, dtype=torch.float64)
    u = F.pad(F.relu(m.input(x)).square().mT, margins)
    right = m.output(F.conv1d(u, m.filter[:, None], m.offset, groups=2 * WIDTH).mT)
    torch.testing.assert_close(m(x, Layout.dense(2, 9)), right)


def test_grid_equals_conv2d():
    m = _mixer("grid_conv", kernel=3)
    x = torch.randn(2, 4 * 5, WIDTH, dtype=torch.float64)
    u = F.relu(m.input(x)).square().mT.unflatten(2, (4, 5))
    right = m.output(F.conv2d(u, m.filter, m.offset, padding=1, groups=2 * WIDTH).flatten(2).mT)
    torch.testing.assert_close(m(x, Layout.lattice(2, (4, 5))), right)


def test_grid_refuses_a_sequence():
    with pytest.raises(InputError, match="lattice of two axes"):
        _mixer("grid_conv")(torch.randn(1, 4, WIDTH).double(), Layout.dense(1, 4))
    with pytest.raises(InputError, match="odd"):
        _mixer("grid_conv", kernel=4)
