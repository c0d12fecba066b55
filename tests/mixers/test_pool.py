"""Pooling equals transformers' PoolFormer and a loop over windows, on lattices and along sequences."""

import itertools

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.ops.pool import max_near, max_segments, mean_near

RAGGED = Layout(torch.tensor([[0, 0, 1, 1, 1, 1, 2, -1], [-1, 0, 0, 0, 0, 0, 1, 1]]), torch.zeros(2, 8, 1).long())
LAYOUTS = {"dense": Layout.dense(2, 8), "ragged": RAGGED}


def _pool(size):
    return config("mixers", {"use": "pool", "size": size}).build(3)


@pytest.mark.parametrize("size", [3, 5])
def test_equals_transformers(size):
    poolformer = pytest.importorskip("transformers.models.poolformer.modeling_poolformer", reason="no transformers")
    x = torch.randn(2, 6 * 4, 3, dtype=torch.float64)
    image = x.unflatten(1, (6, 4)).permute(0, 3, 1, 2)
    right = poolformer.PoolFormerPooling(size)(image).permute(0, 2, 3, 1).flatten(1, 2)
    torch.testing.assert_close(_pool(size)(x, Layout.lattice(2, (6, 4))), right)


@pytest.mark.parametrize("grid", [(5,), (3, 4), (2, 3, 4), (2, 1, 3, 2)])
def test_lattice_windows_one_by_one(grid):
    at = Layout.lattice(1, grid)
    x = torch.randn(1, at.length, 2, dtype=torch.float64)
    cells = list(itertools.product(*(range(g) for g in grid)))
    for i, here in enumerate(cells):
        near = [j for j, c in enumerate(cells) if all(abs(a - b) <= 1 for a, b in zip(here, c, strict=True))]
        torch.testing.assert_close(mean_near(x, at, 3)[0, i], x[0, near].mean(0))


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("size", [1, 3, 7])
def test_sequence_windows_one_by_one(name, size):
    at = LAYOUTS[name]
    x = at.clean(torch.randn(at.batch, 8, 3, dtype=torch.float64))
    mean, top, best = mean_near(x, at, size), max_near(x, at, size), max_segments(x, at, size)
    for row in range(at.batch):
        for seq in range(3):
            here = (at.seg[row] == seq).nonzero()[:, 0].tolist()
            for i, t in enumerate(here):
                near = here[max(0, i - size // 2) : i + size // 2 + 1]
                segment = here[i // size * size : i // size * size + size]
                torch.testing.assert_close(mean[row, t], x[row, near].mean(0))
                torch.testing.assert_close(top[row, t], x[row, near].amax(0))
                torch.testing.assert_close(best[row, t], x[row, segment].amax(0))
    assert mean.isfinite().all() and top.isfinite().all() and best.isfinite().all()


def test_refuses_a_window_without_a_middle():
    with pytest.raises(InputError, match="odd"):
        _pool(4)
