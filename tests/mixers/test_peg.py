"""PEG is a convolution with zeros beyond the border, and what the zeros tell."""

import pytest
import torch

from panformer.claims.facts import cells
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.ops.lattice import with_first

D = torch.float64


def peg(**options):
    torch.manual_seed(0)
    return config("mixers", {"use": "peg", **options}).build(4).double()


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_peg_is_the_sum_over_neighbours(kernel):
    got, want = cells.peg_by_hand(0, kernel=kernel)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-13)


def test_zeros_beyond_the_border_tell_places():
    same = cells.moved_picture(0)
    torch.testing.assert_close(*same, rtol=1e-11, atol=1e-12)
    other = cells.moved_picture(0, border="zeros")
    assert (other[0] - other[1]).abs().max() > 1e-3


def test_tokens_before_the_lattice_answer_nothing():
    part, x = peg(), torch.randn(2, 14, 4, dtype=D)
    out = part(x, with_first(Layout.lattice(2, (3, 4)), 2))
    assert (out[:, :2] == 0).all()
    torch.testing.assert_close(out[:, 2:], part(x[:, 2:], Layout.lattice(2, (3, 4))))


def test_is_that_of_timm():
    peer = pytest.importorskip("timm.models.twins", exc_type=ImportError).PosConv(4, 4).double()
    part, x = peg(), torch.randn(2, 20, 4, dtype=D)
    part.conv.load_state_dict(peer.proj[0].state_dict())
    torch.testing.assert_close(x + part(x, Layout.lattice(2, (4, 5))), peer(x, (4, 5)))
