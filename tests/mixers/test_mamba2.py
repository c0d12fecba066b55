"""Mamba 2 equals transformers' block on copied weights, and its own recurrence written out."""

import pytest
import torch
from torch.nn import functional as F

from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.state import size

from .weights import shaken

WIDTH, HEADS, STATE = 12, 6, 5


@pytest.fixture
def mixer():
    torch.manual_seed(0)
    return shaken(
        config("mixers", {"use": "mamba2", "heads": HEADS, "groups": 2, "state": STATE}).build(WIDTH).double()
    )


def test_equals_transformers(mixer):
    public = pytest.importorskip("transformers.models.mamba2.modeling_mamba2", reason="transformers is not installed")
    c = public.Mamba2Config(
        hidden_size=WIDTH, num_heads=HEADS, head_dim=2 * WIDTH // HEADS, n_groups=2, state_size=STATE, chunk_size=4
    )
    peer = public.Mamba2Mixer(c, layer_idx=0).double().eval()
    m = mixer
    weights = {
        "in_proj.weight": m.input.weight, "conv1d.weight": m.filter[:, None], "conv1d.bias": m.offset, "dt_bias": m.delta,
        "A_log": m.a_log, "D": m.skip, "norm.weight": m.weight, "out_proj.weight": m.output.weight,
    }  # fmt: skip
    peer.load_state_dict({k: v.detach() for k, v in weights.items()}, strict=True)
    x = torch.randn(2, 19, WIDTH, dtype=torch.float64, requires_grad=True)
    ours, theirs = m(x, Layout.dense(2, 19)), peer(x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)  # the peer sums in float32
    (ga,), (gb,) = (torch.autograd.grad(y.sin().sum(), x) for y in (ours, theirs))
    torch.testing.assert_close(ga, gb, rtol=0, atol=1e-4)


def test_is_the_recurrence_token_by_token(mixer):
    """The whole block from the paper's equations, one token and one head at a time."""
    m, x = mixer, torch.randn(1, 9, WIDTH, dtype=torch.float64)
    out = m(x, Layout.dense(1, 9))[0]
    z, u, delta = m.input(x[0]).split(m.sizes, -1)
    h = torch.zeros(HEADS, 2 * WIDTH // HEADS, STATE, dtype=torch.float64)
    for t in range(9):
        seen = [m.filter[:, 3 - j] * u[t - j] for j in range(min(4, t + 1))]
        v, b, c = F.silu(sum(seen) + m.offset).split(m.parts)
        v, b, c = v.view(HEADS, -1), b.view(2, -1), c.view(2, -1)
        y = torch.empty_like(v)
        for i in range(HEADS):
            step, group = F.softplus(delta[t, i] + m.delta[i]), i // 3
            h[i] = torch.exp(-step * m.a_log[i].exp()) * h[i] + step * v[i][:, None] * b[group]
            y[i] = h[i] @ c[group] + m.skip[i] * v[i]
        y = (y.flatten() * F.silu(z[t])).view(2, -1)
        y = (y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt()).flatten() * m.weight
        torch.testing.assert_close(out[t], m.output(y))


def test_state_does_not_grow(mixer):
    x = torch.randn(2, 40, WIDTH, dtype=torch.float64)
    state = mixer.start(2, x)
    after = mixer.chunk(x, Layout.dense(2, 40), state)[1]
    assert size(after) == size(state) == 2 * 8 * (3 * sum(mixer.parts) + 2 * WIDTH * STATE)
