"""Mamba equals transformers' and mambapy's block on copied weights, and its own recurrence written out."""

import pytest
import torch
from torch.nn import functional as F

from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.state import size
from panformer.mixers.mamba import Mamba

WIDTH, STATE = 24, 5


@pytest.fixture
def mixer():
    torch.manual_seed(0)
    m = config("mixers", {"use": "mamba", "state": STATE, "rank": 3}).build(WIDTH).double()
    torch.nn.init.normal_(m.offset)
    torch.nn.init.normal_(m.skip)
    return m


def _copy(to: torch.nn.Module, m: Mamba) -> None:
    """Our parameters under the names that both public implementations use."""
    weights = {
        "in_proj.weight": m.input.weight,
        "conv1d.weight": m.filter[:, None],
        "conv1d.bias": m.offset,
        "x_proj.weight": m.select.weight,
        "dt_proj.weight": m.delta.weight,
        "dt_proj.bias": m.delta.bias,
        "A_log": m.a_log,
        "D": m.skip,
        "out_proj.weight": m.output.weight,
    }
    to.load_state_dict({k: v.detach() for k, v in weights.items()}, strict=True)


def _same_values_and_gradients(m, peer, atol):
    x = torch.randn(2, 19, WIDTH, dtype=torch.float64, requires_grad=True)
    ours, theirs = m(x, Layout.dense(2, 19)), peer(x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)
    (ga,), (gb,) = (torch.autograd.grad(y.sin().sum(), x) for y in (ours, theirs))
    torch.testing.assert_close(ga, gb, rtol=0, atol=atol)


def test_equals_transformers(mixer):
    mamba = pytest.importorskip("transformers.models.mamba.modeling_mamba", reason="transformers is not installed")
    c = mamba.MambaConfig(hidden_size=WIDTH, state_size=STATE, time_step_rank=3, num_hidden_layers=1, use_mambapy=False)
    peer = mamba.MambaMixer(c, layer_idx=0).double().eval()
    _copy(peer, mixer)
    _same_values_and_gradients(mixer, peer, 1e-6)  # the peer takes exp(A_log) in float32


def test_equals_mambapy(mixer):
    mamba = pytest.importorskip("mambapy.mamba", reason="mambapy is not installed")
    peer = mamba.MambaBlock(mamba.MambaConfig(d_model=WIDTH, n_layers=1, d_state=STATE, dt_rank=3)).double()
    _copy(peer, mixer)
    _same_values_and_gradients(mixer, peer, 1e-6)  # the peer takes exp(A_log) in float32


def test_is_the_recurrence_token_by_token(mixer):
    """The whole block from the paper's equations, one token and one channel sum at a time."""
    x = torch.randn(1, 9, WIDTH, dtype=torch.float64)
    out = mixer(x, Layout.dense(1, 9))[0]
    u, z = mixer.input(x[0]).chunk(2, -1)
    a = -mixer.a_log.exp()
    h, kernel = torch.zeros_like(a), mixer.filter.shape[1]
    for t in range(9):
        seen = [mixer.filter[:, kernel - 1 - j] * u[t - j] for j in range(min(kernel, t + 1))]
        v = F.silu(sum(seen) + mixer.offset)
        narrow, b, c = mixer.select(v).split([3, STATE, STATE])
        delta = torch.log1p(mixer.delta(narrow).exp())
        h = torch.exp(delta[:, None] * a) * h + delta[:, None] * b * v[:, None]
        y = (h @ c + mixer.skip * v) * F.silu(z[t])
        torch.testing.assert_close(out[t], mixer.output(y))


def test_selects_by_content(mixer):
    """One token's rates depend on that token: the same later input is weighed differently, unlike in a fixed system."""
    fixed = config("mixers", {"use": "s4d", "state": STATE, "kernel": 1}).build(WIDTH).double()
    gates = []
    for m in (mixer, fixed):
        u = torch.randn(1, 6, 2 * WIDTH, dtype=torch.float64)
        gates.append(m.rates(u)[0].std(1).max())
    assert gates[0] > 1e-3 and gates[1] == 0


def test_s4d_is_a_convolution():
    """A fixed system answers with one kernel: y = sum_l K_l u_{t-l}, K_l = C exp(delta A l) delta."""
    torch.manual_seed(1)
    m = config("mixers", {"use": "s4d", "state": STATE}).build(WIDTH).double()
    u = torch.randn(1, 11, 2 * WIDTH, dtype=torch.float64)
    y, _ = m._scan(u, Layout.dense(1, 11), None, None)
    delta = F.softplus(m.delta)
    lag = torch.arange(11, dtype=torch.float64)
    fall = torch.exp(-(delta[:, None] * m.a_log.exp())[:, None] * lag[:, None])  # (E, L, N)
    kernel = torch.einsum("en,eln,e->el", m.c, fall, delta)
    right = torch.stack([sum(kernel[:, j] * u[0, t - j] for j in range(t + 1)) for t in range(11)])
    torch.testing.assert_close(y[0], right + m.skip * u[0])


def test_state_does_not_grow(mixer):
    x = torch.randn(2, 40, WIDTH, dtype=torch.float64)
    state = mixer.start(2, x)
    before = size(state)
    _, state = mixer.chunk(x, Layout.dense(2, 40), state)
    assert size(state) == before == 2 * 2 * WIDTH * (3 + STATE) * 8
