"""Hyena is its equations token by token, a product of diagonal and Toeplitz matrices, and its filters go on for ever."""

import copy
import math

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.state import size
from panformer.measure.matrix import matrix

from .weights import shaken

WIDTH, LENGTH = 6, 11
SMALL = {"length": 16, "bands": 3, "hidden": 5}


def _mixer(**options):
    torch.manual_seed(0)
    return shaken(config("mixers", {"use": "hyena", **SMALL, **options}).build(WIDTH).double())


def _x(batch=1, length=LENGTH):
    return torch.randn(batch, length, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _weight(m, channel, order, t):
    """h(t) of one channel and order, from the formula."""
    f, i = m.implicit, channel * m.convolutions + order
    z = [t / 16, *(math.cos(2 * math.pi * k * t / 16) for k in range(3))]
    z = torch.tensor([*z, *(math.sin(2 * math.pi * k * t / 16) for k in range(3))], dtype=torch.float64)
    for w, b, pace in zip((f.enter, *f.inner), f.offsets, f.pace):
        z = torch.sin(pace * (w @ z + b))
    slow, fast = (math.log(100) / (s * 16) for s in (1.5, 0.3))
    rate = slow + (fast - slow) * i / (f.channels - 1)
    return (math.exp(-rate * abs(t)) + 0.05) * (f.leave[i] @ z)


@pytest.mark.parametrize(
    ("order", "causal", "start"), [(2, True, "filter"), (3, True, "filter"), (2, False, "filter"), (3, True, "gate")]
)
def test_is_the_recurrence_token_by_token(order, causal, start):
    m, x = _mixer(order=order, causal=causal, start=start, bias=True), _x()
    u = m.input(x[0])
    left = 2 if causal else 1
    near = [[(k, t + k - left) for k in range(3) if 0 <= t + k - left < LENGTH] for t in range(LENGTH)]
    u = torch.stack([m.offset + sum(m.filter[:, k] * u[s] for k, s in pairs) for pairs in near])
    z, *gates = u.split(WIDTH, -1)
    if start == "gate":
        z, gates = gates[0] * z, gates[1:]
    for n, gate in enumerate(gates):
        new = torch.zeros_like(z)
        for d in range(WIDTH):
            for t in range(LENGTH):
                for s in range(t + 1 if causal else LENGTH):
                    new[t, d] = new[t, d] + _weight(m, d, n, t - s) * z[s, d]
                new[t, d] = gate[t, d] * (new[t, d] + m.skip[d, n] * z[t, d])
        z = new
    torch.testing.assert_close(m(x, Layout.dense(1, LENGTH))[0], m.output(z))


@pytest.mark.parametrize("causal", [True, False])
def test_is_a_product_of_diagonal_and_toeplitz_matrices(causal):
    m, x, at = _mixer(causal=causal), _x(2), Layout.dense(2, LENGTH)
    mix, values = m.mixing(x, at)
    found = matrix(mix, values)  # (B, D, T, T)
    ahead = 0 if causal else LENGTH - 1
    filters = m.filters(LENGTH, ahead)
    _, *gates = _slots(m, x)
    apart = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH) + ahead
    want = torch.eye(LENGTH, dtype=torch.float64).expand_as(found)
    for gate, h in zip(gates, filters, strict=True):
        toeplitz = torch.where(apart >= 0, h[:, apart.clamp(min=0)], 0)  # (D, T, T)
        want = torch.diag_embed(gate.mT) @ toeplitz @ want
    torch.testing.assert_close(found, want)
    torch.testing.assert_close(m(x, at), m.output((want @ values)[..., 0].mT))
    assert bool((found.triu(1) == 0).all()) == causal


def _slots(m, x):
    """v, x^1 .. x^N: slices of the short convolution."""
    return [_short(m, m.input(x)[..., i * WIDTH : (i + 1) * WIDTH], i) for i in range(m.order + 1)]


def _short(m, u, slot):
    taps = m.filter.unflatten(0, (m.order + 1, WIDTH))[slot]
    left = 2 if m.causal else 1
    padded = torch.nn.functional.pad(u, (0, 0, left, 2 - left))
    return sum(taps[:, k] * padded[:, k : k + u.shape[1]] for k in range(3))


def test_a_first_filter_of_one_is_a_start_with_a_gate():
    """The published code: order 2 is x^2 (h * (x^1 v))."""
    m, x, at = _mixer(causal=True), _x(), Layout.dense(1, LENGTH)
    with torch.no_grad():
        m.implicit.leave.unflatten(0, (WIDTH, 2))[:, 0] = 0
        m.skip[:, 0] = 1
    v, one, two = _slots(m, x)
    h = m.filters(LENGTH)[1]
    lags = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
    toeplitz = torch.where(lags >= 0, h[:, lags.clamp(min=0)], 0)
    want = m.output(two * torch.einsum("dts,bsd->btd", toeplitz, one * v))
    torch.testing.assert_close(m(x, at), want)
    gate = _mixer(causal=True, start="gate")
    gate.load_state_dict({k: v for k, v in m.state_dict().items() if k not in ("implicit.leave", "skip")}, strict=False)
    gate._skipping = lambda *_: (None, h)
    torch.testing.assert_close(gate(x, at), want)


def test_filters_of_any_length_agree_and_start_with_an_energy_of_one():
    f = _mixer(causal=True).implicit
    torch.testing.assert_close(f(100)[:, :9], f(9))
    torch.testing.assert_close(f(9, 50)[:, 50:], f(9))
    assert f(100_000)[:, -1].abs().max() > 0 and f(100_000).isfinite().all()
    torch.manual_seed(0)
    big = config("mixers", {"use": "hyena", "length": 512}).build(64).implicit
    energy = big(512).square().sum(1)
    assert 0.7 < energy.mean() < 1.4


def test_a_stream_remembers_its_filters_until_a_weight_changes():
    m, x = _mixer(causal=True), _x(2)
    with torch.no_grad():
        _read(m, x)
        kept = m.implicit._held[1]
        _read(m, x)
        assert m.implicit._held[1] is kept
        m.implicit.leave.mul_(2)
        torch.testing.assert_close(_read(m, x), m(x, Layout.dense(2, LENGTH)))
        assert copy.deepcopy(m).implicit._held is None
    assert _read(m, x).requires_grad


def test_state_grows_with_what_was_read():
    m, x = _mixer(causal=True, order=3), _x(2)
    with torch.no_grad():
        for n in (1, 4, LENGTH):
            _, state = m.chunk(x[:, :n], Layout.dense(2, n), m.start(2, x))
            assert size(state) == 2 * 8 * WIDTH * (2 * 4 + 3 * n)


def _read(m, x):
    state, outs = m.start(len(x), x), []
    for t in range(x.shape[1]):
        y, state = m.step(x[:, t : t + 1], Layout.dense(len(x), 1, t), state)
        outs.append(y)
    return torch.cat(outs, 1)


@pytest.mark.parametrize(
    ("options", "told"), [({"spans": [0, 1]}, "spans"), ({"order": 1, "start": "gate"}, "no long convolution")]
)
def test_refuses_what_has_no_meaning(options, told):
    with pytest.raises(InputError, match=told):
        _mixer(**options)
