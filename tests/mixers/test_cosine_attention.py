"""Cosine attention is its formula, alike in one matrix, in blocks and token by token, and holds a state of one size."""

import math

import pytest
import torch
from torch.nn import functional as F

from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.state import size
from panformer.ops.backend import only

WIDTH, HEADS = 12, 3


def _mixer(**options):
    torch.manual_seed(0)
    m = config("mixers", {"use": "cosine_attention", "heads": HEADS, **options}).build(WIDTH).double()
    with torch.no_grad():
        m.power.copy_(torch.tensor([-1.0, 0.0, 2.0]))
    return m


@pytest.mark.parametrize("causal", [False, True])
def test_is_the_formula(causal):
    m, x = _mixer(causal=causal), torch.randn(1, 70, WIDTH, dtype=torch.float64)
    q, k, v = (f(x)[0].unflatten(-1, (HEADS, -1)) for f in (m.q, m.k, m.v))
    out = torch.zeros_like(v)
    for h, power in enumerate((-1.0, 0.0, 2.0)):
        for i in range(70):
            seen = range(i + 1 if causal else 70)
            total = sum(F.cosine_similarity(q[i, h], k[j, h], dim=0) * v[j, h] for j in seen)
            out[i, h] = total * len(seen) ** (-1 / (1 + math.exp(-power)))
    torch.testing.assert_close(m(x, Layout.dense(1, 70))[0], m.o(out.flatten(1)))


@pytest.mark.parametrize("form", ["dense", "packed", "right", "left"])
def test_matrix_blocks_and_steps_agree(form):
    at = {
        "dense": Layout.dense(1, 150), "packed": Layout.packed([90, 1, 59]), "right": Layout.padded([130, 77]),
        "left": Layout.padded([130, 77], side="left"),
    }[form]  # fmt: skip
    m, x = _mixer(causal=True, position="rope"), torch.randn(at.batch, at.length, WIDTH, dtype=torch.float64)
    fast = at.clean(m(x, at))
    with only("reference"):
        slow = at.clean(m(x, at))
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-12)
    if form == "dense":
        state, out = m.start(1, x), []
        for t in range(150):
            y, state = m.step(x[:, t : t + 1], at.span(t, t + 1), state)
            out.append(y)
        torch.testing.assert_close(torch.cat(out, 1), slow, rtol=1e-10, atol=1e-12)
        assert size(state) == size(m.start(1, x)) == 8 * (HEADS * 4 * 4 + HEADS)


def test_only_directions_of_queries_and_keys_matter():
    m, x, at = _mixer(), torch.randn(2, 9, WIDTH, dtype=torch.float64), Layout.dense(2, 9)
    want = m(x, at)
    with torch.no_grad():
        m.q.weight.mul_(7.0)
        m.k.weight.mul_(0.01)
    torch.testing.assert_close(m(x, at), want)
