"""Agent attention is a linear attention; its lattice form from the paper's formula."""

import pytest
import torch
from torch.nn import functional as F

from panformer.claims import judges
from panformer.claims.facts import landmarks
from panformer.core.errors import InputError
from panformer.core.layout import Layout, pack
from panformer.core.part import config

WIDTH, D = 8, torch.float64


def build(use, **options):
    torch.manual_seed(1)
    part = config("mixers", {"use": use, "heads": 2, **options}).build(WIDTH).double()
    for p in part.parameters():
        torch.nn.init.normal_(p, std=0.4)
    return part


def test_it_is_linear_attention_with_its_two_maps():
    assert judges.difference(*landmarks.agents(0)) < 1e-12
    assert judges.difference(*landmarks.agents(0, over="agents")) > 1e-2


def test_with_one_token_it_is_its_value():
    part = build("agent_attention", agents=4, conv=None)
    x = torch.randn(1, 1, WIDTH, dtype=D)
    torch.testing.assert_close(part(x, Layout.dense(1, 1)), part.o(part.v(x)))


def test_short_sequences_have_an_agent_per_token():
    part = build("agent_attention", agents=5, conv=None)
    xs = [torch.randn(n, WIDTH, dtype=D) for n in (3, 11)]
    x, at = pack(xs)
    q, k, v = (m(xs[0]).unflatten(1, (2, 4)).transpose(0, 1) for m in (part.q, part.k, part.v))
    y = (q @ q.mT / 2).softmax(-1) @ ((q @ k.mT / 2).softmax(-1) @ v)
    torch.testing.assert_close(part(x, at)[0, :3], part.o(y.transpose(0, 1).flatten(1)))


def test_the_lattice_form_equals_the_paper():
    grid, side = (4, 6), 2
    part = build("agent_grid_attention", agents=4, grid=grid)
    x = torch.randn(2, 24, WIDTH, dtype=D)
    heads = []
    for name in "qkv":
        y = getattr(part, name)(x)
        heads.append(y.unflatten(2, (2, 4)).transpose(1, 2))
    q, k, v = heads
    cells = q.transpose(2, 3).flatten(0, 1).unflatten(2, grid)  # (B H, E, h, w)
    a = F.adaptive_avg_pool2d(cells, (side, side)).flatten(2).mT.unflatten(0, (2, 2))
    b1, b2 = (_bias(cells, grid) for cells in (part.gather, part.spread))
    read = (a @ k.mT / 2 + b1).softmax(-1) @ v
    y = (q @ a.mT / 2 + b2.mT).softmax(-1) @ read
    image = part.v(x).mT.unflatten(2, grid)
    near = F.conv2d(image, part.kernel, part.offset, padding=1, groups=WIDTH).flatten(2).mT
    torch.testing.assert_close(part(x, Layout.lattice(2, grid)), part.o(y.transpose(1, 2).flatten(2) + near))


def _bias(cells, grid):
    """(H, M, n): the block table resized, plus row plus column, element by element."""
    block, row, column = (t.unflatten(2, (2, 4)) for t in cells.tables)
    big = F.interpolate(block.permute(2, 3, 0, 1), grid, mode="bilinear", align_corners=False)
    return torch.stack([big[..., r, c] + row[r, 0] + column[0, c] for r in range(grid[0]) for c in range(grid[1])], -1)


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="square"):
        build("agent_grid_attention", agents=5)
    with pytest.raises(InputError, match="odd"):
        build("agent_attention", conv=4)
    with pytest.raises(InputError, match="3 x 3 agents on a lattice of 2 x 8"):
        build("agent_grid_attention", agents=9)(torch.randn(1, 16, WIDTH, dtype=D), Layout.lattice(1, (2, 8)))
