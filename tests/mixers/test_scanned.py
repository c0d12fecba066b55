"""A recurrence on a lattice: one order is the recurrence itself, the cross does not see which axis is which."""

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.ops.orders import CROSS, ORDERS
from panformer.ops.scan2d import scan2d

from .weights import shaken

WIDTH, D = 8, torch.float64
INNER = {"use": "mamba", "state": 3, "expand": 1}


def _mixer(use, **options):
    torch.manual_seed(0)
    return shaken(config("mixers", {"use": use, **options}).build(WIDTH).to(D), 0.1)


def _turned(x, grid):
    """The image with its axes exchanged."""
    return x.unflatten(1, grid).transpose(1, 2).flatten(1, 2)


def test_raster_alone_is_the_mixer_on_the_tokens_in_a_line():
    m, x = _mixer("scanned", mixer=INNER, orders=["raster"]), torch.randn(2, 12, WIDTH, dtype=D)
    want = m.read[0](x, Layout.dense(2, 12))
    torch.testing.assert_close(m(x, Layout.lattice(2, (3, 4))), want, rtol=0, atol=0)


def test_raster_and_its_end_are_the_bidirectional_mixer():
    m, both = (_mixer(use, mixer=INNER, **o) for use, o in (("scanned", {"orders": CROSS[:2]}), ("bidirectional", {})))
    both.forth.load_state_dict(m.read[0].state_dict())
    both.back.load_state_dict(m.read[1].state_dict())
    x = torch.randn(2, 12, WIDTH, dtype=D)
    torch.testing.assert_close(m(x, Layout.lattice(2, (3, 4))), both(x, Layout.dense(2, 12)))


@pytest.mark.parametrize("join", ["add", "concat"])
def test_each_order_is_read_and_put_back(join):
    orders = ("column", "spiral_back")
    m, x = _mixer("scanned", mixer="min_gru", orders=orders, join=join), torch.randn(1, 9, WIDTH, dtype=D)
    read = [0, 3, 6, 1, 4, 7, 2, 5, 8], [4, 3, 6, 7, 8, 5, 2, 1, 0]
    answers = [f(x[:, o], Layout.dense(1, 9))[:, torch.tensor(o).argsort()] for f, o in zip(m.read, read, strict=True)]
    want = sum(answers) if join == "add" else m.o(torch.cat(answers, -1))
    torch.testing.assert_close(m(x, Layout.lattice(1, (3, 3))), want)


def test_the_cross_with_one_set_of_weights_does_not_see_which_axis_is_which():
    grid, x = (3, 5), torch.randn(2, 15, WIDTH, dtype=D)
    at, turned = Layout.lattice(2, grid), Layout.lattice(2, grid[::-1])
    m = _mixer("scanned", mixer=INNER, tied=True)
    torch.testing.assert_close(m(_turned(x, grid), turned), _turned(m(x, at), grid))
    for other in ({"orders": ["raster", "raster_back"], "tied": True}, {"tied": False}):
        m = _mixer("scanned", mixer=INNER, **other)
        assert not torch.allclose(m(_turned(x, grid), turned), _turned(m(x, at), grid))


@pytest.mark.parametrize("use", ["scanned", "grid_rnn"])
def test_images_in_one_row_are_computed_as_each_alone(use):
    m = _mixer(use, **({"mixer": INNER, "orders": ORDERS} if use == "scanned" else {}))
    sizes = [(3, 4), (1, 1), (2, 5)]
    cells = [Layout.lattice(1, size).pos[0] for size in sizes]
    seg = torch.cat([torch.full((len(c),), i) for i, c in enumerate(cells)] + [torch.tensor([-1])])[None]
    at = Layout(seg, torch.cat([*cells, torch.zeros(1, 2, dtype=torch.int64)])[None])
    x = torch.randn(1, at.length, WIDTH, dtype=D)
    x[:, -1] = torch.nan
    y, start = m(x, at), 0
    for size in sizes:
        end = start + size[0] * size[1]
        torch.testing.assert_close(y[:, start:end], m(x[:, start:end], Layout.lattice(1, size)))
        start = end


def test_what_reads_no_line_is_refused():
    for mixer in ({"use": "attention", "heads": 2}, {"use": "grid_conv"}):
        with pytest.raises(InputError, match=f"scanned: mixer '{mixer['use']}' does not read from one end"):
            _mixer("scanned", mixer=mixer)
    with pytest.raises(InputError, match="lattice"):
        _mixer("scanned", mixer=INNER)(torch.zeros(1, 4, WIDTH, dtype=D), Layout.dense(1, 4))


# ---- the recurrence over both axes


def test_is_its_recurrence_from_four_corners():
    m, x, grid = _mixer("grid_rnn"), torch.randn(1, 12, WIDTH, dtype=D), (3, 4)
    v, *gates = m.input(x).unflatten(1, grid).chunk(4, -1)
    a, b, take = torch.stack(gates).softmax(0)
    parts = []
    for i, axes in enumerate(([], [2], [1], [1, 2])):
        own = slice(2 * i, 2 * i + 2)
        h = scan2d.reference(*(z[..., own].flip(axes) for z in (a, b, take * v)))
        parts.append(h.flip(axes))
    torch.testing.assert_close(m(x, Layout.lattice(1, grid)), m.output(torch.cat(parts, -1).flatten(1, 2)))


def test_states_stay_within_the_values():
    m = _mixer("grid_rnn")
    m.output = torch.nn.Identity()
    x = 10 * torch.randn(1, 900, WIDTH, dtype=D)
    assert m(x, Layout.lattice(1, (30, 30))).abs().max() <= m.input(x)[..., :WIDTH].abs().max()


def test_channels_that_do_not_divide_are_refused():
    with pytest.raises(InputError, match="corners"):
        config("mixers", "grid_rnn").build(6)
