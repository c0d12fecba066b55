"""Atlas is DeltaNet where its window, chunk and gates are one, and its formula written out where they are not."""

import pytest
import torch
from torch.nn import functional as F

from panformer.claims import judges
from panformer.claims.facts import memory
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.state import size
from panformer.ops.omega_rule import omega_rule

from .weights import shaken

WIDTH, HEADS = 12, 4


def _mixer(use, **options):
    torch.manual_seed(0)
    return shaken(config("mixers", {"use": use, "heads": HEADS, **options}).build(WIDTH).double())


def _as_delta_net(plain, **options):
    m = _mixer("atlas", window=1, chunk=1, inner="descent", **options)
    m.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        m.u.zero_()
        m.a.weight.zero_()
        m.a.bias.fill_(1e3)
    return m


def test_is_delta_net():
    plain = _mixer("delta_net")
    m = _as_delta_net(plain)
    x, at = torch.randn(2, 20, WIDTH, dtype=torch.float64), Layout.packed([20, 20])
    torch.testing.assert_close(m(x.view(1, 40, -1), at), plain(x.view(1, 40, -1), at))


def test_degree_one_is_delta_net_on_keys_with_a_constant():
    """phi(x) = [1, x]: what is added to keys and queries by hand is what the feature adds."""
    plain = _mixer("delta_net", eps=1e-18)
    m = _as_delta_net(plain, eps=1e-18, feature={"use": "polynomial", "degree": 1})
    x, at = torch.randn(2, 20, WIDTH, dtype=torch.float64), Layout.dense(2, 20)
    assert (m(x, at) - plain(x, at)).abs().max() > 1e-3
    one = plain.one
    plain.one = lambda z: one(torch.cat([torch.ones_like(z[..., :1]), one(z)], -1))
    with torch.no_grad():
        m.feature.log_s.zero_()
    torch.testing.assert_close(m(x, at), plain(x, at))


def test_is_the_formula_token_by_token():
    m, c, b = _mixer("atlas", window=3, chunk=2, inner="momentum"), 3, 2
    x, e = torch.randn(1, 9, WIDTH, dtype=torch.float64), WIDTH // HEADS
    out, u = m(x, Layout.dense(1, 9))[0], m.input(x[0])
    seen = [sum(m.filter[:, 3 - j] * u[t - j] for j in range(min(4, t + 1))) for t in range(9)]
    q, k, v = F.silu(torch.stack(seen)).view(9, 3, HEADS, e).unbind(1)
    q, k = (z / (z.square().sum(-1, keepdim=True) + 1e-6).sqrt() for z in (q, k))
    g = m.u.exp() * torch.sigmoid(m.b(x[0]))
    fade, keep, rate = (torch.sigmoid(f(x[0])) for f in (m.a, m.p, m.r))
    y = torch.empty(9, HEADS, e, dtype=torch.float64)
    for h in range(HEADS):
        s = z = base = torch.zeros(e, e, dtype=torch.float64)
        for t in range(9):
            base = s if t % b == 0 else base
            slope = sum(
                g[i, h] * torch.outer(k[i, h], base.mT @ k[i, h] - v[i, h]) for i in range(max(0, t - c + 1), t + 1)
            )
            z = keep[t, h] * z + slope
            s = fade[t, h] * s - rate[t, h] * z
            y[t, h] = s.mT @ q[t, h] * e**-0.5
    y = y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt() * m.weight
    torch.testing.assert_close(out, m.output(y.flatten(1)))


@pytest.mark.parametrize("window", [1, 4])
def test_one_key_again_and_again_brings_its_value_and_never_more_at_the_start(window):
    m = (
        config("mixers", {"use": "atlas", "heads": 1, "window": window, "chunk": 8, "inner": "descent"})
        .build(WIDTH)
        .double()
    )
    one = torch.ones(1, 1, 64, 1, dtype=torch.float64)
    g = m.u.detach().exp() * one[..., 0]
    y, _ = omega_rule(one, one, one, g, None, None, None, Layout.dense(1, 64), None, window, 8, 0)
    y = y.flatten()
    assert (y.diff() >= -1e-12).all() and 0.9 < y[-1] <= 1 + 1e-12
    assert omega_rule(one, one, one, 4 * g, None, None, None, Layout.dense(1, 64), None, window, 8, 0)[0].max() > 1.5


def test_state_does_not_grow():
    m, x = _mixer("atlas", window=5, feature="polynomial"), torch.randn(2, 40, WIDTH, dtype=torch.float64)
    state, phi, e = m.start(2, x), 1 + 3 + 6, WIDTH // HEADS
    window = HEADS * 4 * (phi + e + 1)
    assert (
        size(m.chunk(x, Layout.dense(2, 40), state)[1])
        == size(state)
        == 2 * 8 * (9 * WIDTH + 3 * HEADS * phi * e + window)
    )


def test_gradients_in_pieces_are_exact_with_muon_too():
    """Without its floor Muon leaps by rounding errors once the memory answers right, and two equal forms part ways."""
    model = {"width": 16, "schedule": [{"repeat": 2, "mixer": "identity", "channel": "mlp"}]}
    mixer = {"use": "atlas", "heads": 2, "window": 3, "chunk": 4}
    assert judges.difference(*memory.streamed(0, model, mixer)) < 1e-9
