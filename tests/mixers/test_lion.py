"""LION without decay is linear attention; with decays it is its matrix, which is symmetric in how far it looks."""

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.measure.matrix import matrix
from panformer.ops.attend import merge_heads, split_heads

WIDTH, LENGTH = 12, 9


def _mixer(**options):
    torch.manual_seed(0)
    return config("mixers", {"use": "lion", "heads": 3, **options}).build(WIDTH).double()


def test_without_decay_is_linear_attention():
    mine = _mixer(decay="none", feature="elu")
    plain = config("mixers", {"use": "linear_attention", "heads": 3}).build(WIDTH).double()
    plain.load_state_dict(mine.state_dict())
    x, at = torch.randn(2, LENGTH, WIDTH, dtype=torch.float64), Layout.dense(2, LENGTH)
    torch.testing.assert_close(mine(x, at), plain(x, at))


@pytest.mark.parametrize(
    "feature", ["shifted_silu", {"use": "polynomial", "degree": 1}]
)  # the second has weights below 0
@pytest.mark.parametrize("decay", ["none", "fixed", "selective"])
def test_is_its_matrix(decay, feature):
    """Scale(f(q) f(k)' * L) from the equations, one pair of tokens at a time."""
    m, at = _mixer(decay=decay, feature=feature), Layout.dense(1, LENGTH)
    x = torch.randn(1, LENGTH, WIDTH, dtype=torch.float64)
    q, k, v = (split_heads(f(x), 3) for f in (m.q, m.k, m.v))
    q, k = m.feature(q, k)
    a = torch.ones(3, LENGTH, dtype=torch.float64)
    if decay == "fixed":
        a = torch.sigmoid(m.rate)[:, None].expand(-1, LENGTH)
    if decay == "selective":
        a = torch.sigmoid(m.a(x[0])).mT
    want = q[0] @ k[0].mT
    for i in range(LENGTH):
        for j in range(LENGTH):
            between = a[:, j + 1 : i + 1] if j <= i else a[:, i:j]
            want[:, i, j] = want[:, i, j] * between.prod(1)
    want = want / want.sum(-1, keepdim=True)
    mix, values = m.mixing(x, at)
    torch.testing.assert_close(matrix(mix, values)[0], want)
    torch.testing.assert_close(m(x, at), m.o(merge_heads(want @ v)))


def test_a_map_that_is_not_linear_has_no_matrix():
    with pytest.raises(InputError, match="not linear"):
        matrix(lambda v: v.softmax(2), torch.randn(1, 2, 5, 3))
