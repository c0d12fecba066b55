"""Hydra is its recurrences written out, and its matrix is quasiseparable; any causal mixer can read from both ends."""

import pytest
import torch
from torch.nn import functional as F

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.measure.matrix import matrix

from .weights import shaken

WIDTH, HEADS, STATE, LENGTH = 6, 2, 3, 9


def _mixer(**options):
    torch.manual_seed(0)
    return shaken(
        config("mixers", {"use": "hydra", "heads": HEADS, "state": STATE, "kernel": 3, **options}).build(WIDTH).double()
    )


def test_is_two_recurrences_token_by_token():
    m, x = _mixer(), torch.randn(1, LENGTH, WIDTH, dtype=torch.float64)
    out = m(x, Layout.dense(1, LENGTH))[0]
    z, u, delta = m.input(x[0]).split(m.sizes, -1)
    near = F.pad(u, (0, 0, 1, 1))
    u = F.silu(sum(m.filter[:, j] * near[j : j + LENGTH] for j in range(3)) + m.offset)
    v, *scores = u.split(m.parts, -1)
    value = v.view(LENGTH, HEADS, -1)
    y = (m.skip + m.d(v))[..., None] * value
    for end, (b, c) in enumerate((scores[:2], scores[2:])):
        order = list(range(LENGTH)) if end == 0 else list(range(LENGTH))[::-1]
        h, answer = torch.zeros(HEADS, value.shape[2], STATE, dtype=torch.float64), 0
        for t in order:
            y[t] = y[t] + answer  # of the token before, from this end
            step = F.softplus(delta[t, end * HEADS : (end + 1) * HEADS] + m.delta)
            h = torch.exp(-step * m.a_log.exp())[:, None, None] * h + step[:, None, None] * value[t][..., None] * b[t]
            answer = h @ c[t]
    y = y.flatten(1)
    y = y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt() * m.weight * F.silu(z)
    torch.testing.assert_close(out, m.output(y))


def test_blocks_beside_the_diagonal_have_the_rank_of_the_state():
    m, x = _mixer(expand=4), torch.randn(1, 16, WIDTH, dtype=torch.float64)
    mat = matrix(*m.mixing(x, Layout.dense(1, 16)))[0].detach()
    for block in (mat[:, 8:, :8], mat[:, :8, 8:]):
        assert (torch.linalg.matrix_rank(block, rtol=1e-10) == STATE).all()
    assert (torch.linalg.matrix_rank(mat) > 2 * STATE).all()  # the diagonal is free


@pytest.mark.parametrize("join", ["add", "concat"])
def test_both_ends_of_a_causal_mixer(join):
    torch.manual_seed(0)
    m = config("mixers", {"use": "bidirectional", "mixer": {"use": "mamba2", "heads": 2, "state": 3}, "join": join})
    m = m.build(WIDTH).double()
    x, at = torch.randn(2, 7, WIDTH, dtype=torch.float64), Layout.dense(2, 7)
    one, other = m.forth(x, at), m.back(x.flip(1), at).flip(1)
    want = one + other if join == "add" else m.o(torch.cat([one, other], -1))
    torch.testing.assert_close(m(x, at), want)


def test_a_mixer_that_sees_all_is_refused():
    with pytest.raises(InputError, match="attention"):
        config("mixers", {"use": "bidirectional", "mixer": {"use": "attention", "heads": 2}}).build(WIDTH)
