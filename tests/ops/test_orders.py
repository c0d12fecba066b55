"""Orders of cells: drawn by hand, undone by their inverse, alike for images that are packed and padded."""

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.ops.lattice import with_first
from panformer.ops.orders import CROSS, ORDERS, arrange, line, restore

D = torch.float64
DRAWN = {  # which cell of 3 x 4, counted row by row, is read when
    "raster": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    "column": [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11],
    "snake": [0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11],
    "column_snake": [0, 4, 8, 9, 5, 1, 2, 6, 10, 11, 7, 3],
    "spiral": [0, 1, 2, 3, 7, 11, 10, 9, 8, 4, 5, 6],
}


def read(order, at):
    """Which cell is read when."""
    return arrange(torch.arange(at.length, dtype=D).expand(at.batch, -1)[..., None], at, order)[..., 0].long().tolist()


def images(*sizes, rows=1):
    """Images in one row, with padding after each; or each in a row of its own."""
    cells = [Layout.lattice(1, size).pos[0] for size in sizes]
    if rows == 1:
        seg = torch.cat([torch.tensor([i] * len(c) + [-1]) for i, c in enumerate(cells)])[None]
        pos = torch.cat([torch.cat([c, torch.full((1, 2), 99)]) for c in cells])[None]
        return Layout(seg, pos)
    longest = max(map(len, cells))
    seg = torch.stack([torch.where(torch.arange(longest) < len(c), 0, -1) for c in cells])
    pos = torch.stack([torch.cat([c, torch.zeros(longest - len(c), 2, dtype=torch.int64)]) for c in cells])
    return Layout(seg, pos, single=True)


@pytest.mark.parametrize("order", DRAWN)
def test_orders_are_those_drawn_by_hand(order):
    at = Layout.lattice(1, (3, 4))
    assert read(order, at) == [DRAWN[order]]
    assert read(f"{order}_back", at) == [DRAWN[order][::-1]]


@pytest.mark.parametrize("order", ["snake", "column_snake", "spiral", "spiral_back"])
@pytest.mark.parametrize("grid", [(1, 6), (6, 1), (5, 5), (4, 7), (2, 2)])
def test_continuous_orders_go_from_neighbour_to_neighbour(order, grid):
    at = Layout.lattice(1, grid)
    path = arrange(at.pos.to(D), at, order)[0]
    assert (path.diff(dim=0).abs().sum(-1) == 1).all()
    assert len({tuple(p) for p in path.tolist()}) == at.length


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ["lattice", "first", "packed", "padded"])
def test_an_order_and_its_inverse_change_nothing(order, kind):
    at = {
        "lattice": Layout.lattice(2, (4, 5)), "first": with_first(Layout.lattice(2, (4, 5)), 2),
        "packed": images((3, 4), (1, 1), (5, 2)), "padded": images((3, 4), (1, 1), (5, 2), rows=3),
    }[kind]  # fmt: skip
    x = torch.randn(at.batch, at.length, 3, dtype=D)
    torch.testing.assert_close(restore(arrange(x, at, order), at, order), x, rtol=0, atol=0)
    torch.testing.assert_close(arrange(restore(x, at, order), at, order), x, rtol=0, atol=0)
    assert sorted(read(order, at)[0]) == list(range(at.length))


@pytest.mark.parametrize("order", ORDERS)
def test_images_in_one_row_are_read_as_each_alone(order):
    sizes = [(3, 4), (1, 3), (5, 2)]
    one, many = read(order, images(*sizes))[0], read(order, images(*sizes, rows=3))
    start = 0
    for i, size in enumerate(sizes):
        n = size[0] * size[1]
        alone = read(order, Layout.lattice(1, size))[0]
        assert [c - start for c in one[start : start + n]] == alone and many[i][:n] == alone
        assert one[start + n] == start + n  # padding stays
        start += n + 1


def test_class_tokens_are_read_first_and_from_the_end_last():
    at = with_first(Layout.lattice(1, (2, 2)), 1)
    assert read("column", at) == [[0, 1, 3, 2, 4]] and read("column_back", at) == [[4, 2, 3, 1, 0]]


def test_a_line_counts_what_is_read():
    at = line(images((2, 2), (1, 3)))
    assert at.pos[0, :, 0].tolist() == [0, 1, 2, 3, 0, 0, 1, 2, 0] and at.seg[0].tolist() == [0] * 4 + [-1, 1, 1, 1, -1]
    assert line(Layout.lattice(2, (2, 2))).pos[1, :, 0].tolist() == [0, 1, 2, 3]


def test_three_axes_go_in_a_snake_but_not_in_a_spiral():
    at = Layout.lattice(1, (2, 3, 2))
    assert (arrange(at.pos.to(D), at, "snake")[0].diff(dim=0).abs().sum(-1) == 1).all()
    assert read("column", at)[0][:4] == [0, 6, 2, 8]
    with pytest.raises(InputError, match="spiral"):
        read("spiral", at)


def test_what_is_no_lattice_is_refused():
    with pytest.raises(InputError, match="lattice"):
        read("raster", Layout.dense(1, 4))
    with pytest.raises(InputError, match="two axes"):
        read("column", Layout.padded([3, 4]))
    assert CROSS == ("raster", "raster_back", "column", "column_back")
