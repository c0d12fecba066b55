"""Megalodon is its equations token by token; its parts drop out where they should; whole models stream."""

import math

import pytest
import torch
from torch.nn import functional as F

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.state import size
from panformer.model.build import build

from .weights import shaken

WIDTH, HEADS, STATE, CHUNK = 12, 2, 3, 4


def _mixer(**options):
    torch.manual_seed(0)
    tree = {"use": "megalodon", "heads": HEADS, "keys": 8, "state": STATE, "chunk": CHUNK, **options}
    return shaken(config("mixers", tree).build(WIDTH).double())


def test_is_its_equations_token_by_token():
    m, x = _mixer(position="rope"), torch.randn(1, 11, WIDTH, dtype=torch.float64)
    out = m(x, Layout.dense(1, 11))[0]
    alpha, delta, eta = m.alpha.sigmoid(), m.delta.sigmoid(), torch.view_as_complex(m.eta)
    theta = 2 * math.pi / STATE * torch.outer(m.theta.sigmoid(), torch.arange(1, STATE + 1).double())
    spin, h, keys, values = torch.polar(torch.ones_like(theta), theta), torch.zeros(WIDTH, STATE), [], []
    for t in range(11):
        h = spin * (alpha * x[0, t, :, None] + (1 - alpha * delta) * h)
        u = (eta * h).sum(-1).real / STATE**0.5 + m.omega * x[0, t]
        u = u / (u.square().mean() + 1e-5).sqrt() * m.weight
        z = m.z(u).view(HEADS, 4)
        z = (z / (z.square().sum(-1, keepdim=True) + 4e-5).sqrt()).flatten()
        q, k = ((z * g + s).view(1, HEADS, 1, 4) for g, s in zip(m.gain, m.shift, strict=True))
        q, k = (m.position.rotate(y, Layout.dense(1, 1, t))[0, :, 0] for y in (q, k))
        if t % CHUNK == 0:
            keys, values = [], []
        keys.append(k)
        values.append(F.silu(m.v(x[0, t])).view(HEADS, -1))
        share = torch.einsum("he,she->hs", q, torch.stack(keys)).softmax(-1)
        found = torch.einsum("hs,shv->hv", share, torch.stack(values)).flatten()
        torch.testing.assert_close(out[t], m.h(u) + m.o(F.silu(m.r(u)) * found))


def test_the_real_average_is_the_complex_one_that_does_not_turn():
    real, turning = _mixer(average="real"), _mixer()
    with torch.no_grad():
        for name, p in real.named_parameters():
            getattr(turning, name).data.copy_(p) if name == "omega" else None
        state = dict(real.named_parameters())
        for name, p in turning.named_parameters():
            if name == "theta":
                p.fill_(-800.0)  # its sigmoid is 0
            else:
                p[..., :1].copy_(state[name]) if name == "eta" else p.copy_(state[name])
    x, at = torch.randn(2, 11, WIDTH, dtype=torch.float64), Layout.packed([3, 8])
    torch.testing.assert_close(real(x[:1], at), turning(x[:1], at))


def test_attention_ends_with_its_chunk_and_averages_do_not():
    m, x = _mixer(), torch.randn(1, 9, WIDTH, dtype=torch.float64, requires_grad=True)
    m.o.weight.data.zero_()
    m(x, Layout.dense(1, 9))[0, 8].sum().backward()
    assert (x.grad[0].abs().sum(-1) > 0).all()
    m = _mixer()
    with torch.no_grad():
        m.eta.zero_()
    x.grad = None
    m(x, Layout.dense(1, 9))[0, 6].sum().backward()
    seen = x.grad[0].abs().sum(-1)
    assert (seen[4:7] > 0).all() and (seen[:4] == 0).all() and (seen[7:] == 0).all()


def test_keys_and_values_are_let_go_when_their_chunk_is_full():
    m, x = _mixer(), torch.randn(2, 40, WIDTH, dtype=torch.float64)
    state, kept = m.start(2, x), []
    for t in range(40):
        _, state = m.step(x[:, t : t + 1], Layout.dense(2, 1, t), state)
        kept.append(state[1].shape[2])
    assert kept == [(t + 1) % CHUNK for t in range(40)]
    assert size(m.chunk(x, Layout.dense(2, 40), m.start(2, x))[1]) == size(m.start(2, x))


@pytest.mark.parametrize("options", [{"keys": 9}, {"heads": 5}, {"position": "alibi"}, {"chunk": 0}])
def test_a_bad_config_is_refused(options):
    with pytest.raises(InputError):
        _mixer(**options)


def test_a_whole_model_streams_through_every_norm():
    """Norms over the time steps before each mixer and at the end, layer norm before channel parts, two-hop residuals."""
    net = build({
        "width": WIDTH, "causal": True, "norm": {"use": "timestep", "groups": 3}, "position": "rope",
        "embed": {"use": "tokens", "vocab": 11}, "head": {"use": "lm", "vocab": 11},
        "residual": {"use": "two_hop", "later": "layer"},
        "schedule": [{"repeat": 2, "mixer": {"use": "megalodon", "heads": 1, "keys": 4, "chunk": 5}, "channel": "glu"}],
    }, seed=0).double().eval()  # fmt: skip
    x, stream, outs = torch.randint(11, (2, 17)), net.start(2), []
    for a, b in ((0, 3), (3, 4), (4, 13), (13, 17)):
        y, stream = net.chunk(x[:, a:b], stream)
        outs.append(y)
    torch.testing.assert_close(torch.cat(outs, 1), net(x))
