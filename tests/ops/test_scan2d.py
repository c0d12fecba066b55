"""The recurrence over two axes: its limit cases, its fast form, and images of different sizes in one array."""

import math

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.ops import backend
from panformer.ops.grids import CORNERS, from_grids, to_grids
from panformer.ops.scan import affine, scan
from panformer.ops.scan2d import scan2d

D = torch.float64


def _drawn(*shape):
    torch.manual_seed(0)
    return tuple(torch.randn(*shape, dtype=D) / s for s in (2, 2, 1))


@pytest.mark.parametrize("grid", [(1, 1), (1, 6), (6, 1), (3, 5), (5, 3), (4, 4)])
def test_diagonals_are_the_reference_with_gradients(grid):
    args = tuple(z.requires_grad_() for z in _drawn(2, *grid, 3))
    with backend.record() as used:
        fast = scan2d(*args)
    assert used == {"scan2d:diagonals": 1}
    slow = scan2d.reference(*args)
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)
    push = torch.randn_like(slow)
    grads = (torch.autograd.grad(y, args, push, allow_unused=True, materialize_grads=True) for y in (fast, slow))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_the_function():
    args = tuple(z.requires_grad_() for z in _drawn(1, 3, 4, 2))
    assert torch.autograd.gradcheck(scan2d, args) and torch.autograd.gradgradcheck(scan2d, args)


def test_without_one_axis_it_is_a_scan_along_the_other():
    a, b, x = _drawn(2, 4, 5, 3)
    rows = scan(affine, (b.flatten(0, 1), x.flatten(0, 1)))[1].unflatten(0, (2, 4))
    torch.testing.assert_close(scan2d(torch.zeros_like(a), b, x), rows)
    columns = scan(affine, (a.transpose(1, 2).flatten(0, 1), x.transpose(1, 2).flatten(0, 1)))[1]
    want = columns.unflatten(0, (2, 5)).transpose(1, 2)
    torch.testing.assert_close(scan2d(a, torch.zeros_like(b), x), want)


def test_a_cell_reaches_another_along_every_path():
    """With weights of 1 that is how many paths there are, a binomial number; with halves no sum outgrows its input."""
    x = torch.zeros(1, 5, 6, 1, dtype=D)
    x[0, 0, 0, 0] = 1
    ones = torch.ones_like(x)
    want = [[math.comb(i + j, i) for j in range(6)] for i in range(5)]
    assert scan2d(ones, ones, x)[0, :, :, 0].tolist() == want
    assert scan2d(ones / 2, ones / 2, x).max() == 1


def test_is_not_two_scans_one_after_the_other():
    """Its weights belong to cells: a row's scan of a column's scan gives another h unless they are the same everywhere."""
    a, b, x = _drawn(1, 4, 4, 1)
    rows = scan(affine, (b[0], x[0]))[1]
    both = scan(affine, (a[0].transpose(0, 1), rows.transpose(0, 1)))[1].transpose(0, 1)
    assert not torch.allclose(scan2d(a, b, x)[0], both)


def test_half_precision_is_summed_wide():
    a, b, x = (z.bfloat16() for z in _drawn(1, 6, 6, 2))
    assert scan2d(a, b, x).dtype == torch.bfloat16
    torch.testing.assert_close(scan2d(a, b, x), scan2d(a.float(), b.float(), x.float()).bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize("corner", CORNERS)
def test_images_of_different_sizes_are_computed_as_each_alone(corner):
    sizes = [(3, 4), (1, 1), (2, 5)]
    cells = [Layout.lattice(1, size).pos[0] for size in sizes]
    seg = torch.cat([torch.full((len(c),), i) for i, c in enumerate(cells)] + [torch.tensor([-1])])[None]
    at = Layout(seg, torch.cat([*cells, torch.zeros(1, 2, dtype=torch.int64)])[None])
    args = [torch.randn(1, at.length, 2, dtype=D) / 2 for _ in range(3)]
    together = from_grids(scan2d(*(to_grids(z, at, corner) for z in args)), at, corner)
    assert (together[:, -1] == 0).all()
    start = 0
    for size in sizes:
        end = start + size[0] * size[1]
        one = Layout.lattice(1, size)
        alone = from_grids(scan2d(*(to_grids(z[:, start:end], one, corner) for z in args)), one, corner)
        torch.testing.assert_close(together[:, start:end], alone)
        start = end


def test_corners_start_at_their_cell():
    at, cell = Layout.lattice(1, (2, 3)), torch.arange(6, dtype=D).view(1, 6, 1)
    assert [to_grids(cell, at, c)[0, 0, 0, 0].item() for c in CORNERS] == [0, 2, 3, 5]


def test_text_has_no_two_axes():
    for at in (Layout.dense(1, 4), Layout.padded([2, 4])):
        with pytest.raises(InputError, match="two axes"):
            to_grids(torch.zeros(at.batch, 4, 1), at, CORNERS[0])
