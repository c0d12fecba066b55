"""Patches and bytes: the two models written out, causality across patch borders, streams, and activations made again."""

import pytest
import torch

import panformer
from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.shared import Shared

from .weights import shaken

WIDTH, SIZE, WIDE = 8, 4, 12
ATTENTION = {"use": "attention", "heads": 2, "causal": True, "position": "rope"}


def _mixer(**options):
    torch.manual_seed(0)
    c = {"use": "multiscale", "size": SIZE, "width": WIDE, "outer": ATTENTION, "inner": ATTENTION, **options}
    return shaken(config("mixers", c).build(WIDTH)).double().eval()


def _values(length, batch=2):
    return torch.randn(batch, length, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def _run(layers, norm, x):
    at = Layout.dense(*x.shape[:2])
    for layer in layers:
        x = layer(x, at, Shared())
    return norm(x, at)


def test_is_the_two_models_written_out():
    m, x = _mixer(), _values(4 * SIZE)
    patches = x.view(2, 4, SIZE * WIDTH)
    told = _run(m.outer, m.outer_norm, m.down(patches))
    told = torch.cat([m.first.expand(2, 1, -1), told[:, :-1]], 1)
    h = patches + m.up(told)
    want = _run(m.inner, m.inner_norm, h.view(8, SIZE, WIDTH)).view_as(x)
    torch.testing.assert_close(m(x, Layout.dense(2, 4 * SIZE)), want)


@pytest.mark.parametrize("at", [SIZE - 1, SIZE, 2 * SIZE - 1, 2 * SIZE])
def test_nothing_crosses_a_border_backwards(at):
    m, x = _mixer(), _values(15)
    other = torch.cat([x[:, :at], _values(15, 4)[2:, at:]], 1)
    y, z = (m(v, Layout.dense(2, 15)) for v in (x, other))
    assert torch.equal(y[:, :at], z[:, :at])
    assert (y[:, at:] - z[:, at:]).abs().amax(-1).min() > 1e-6, "and every later token sees it"


@pytest.mark.parametrize("outer", [ATTENTION, {"use": "mamba", "state": 3}])
@pytest.mark.parametrize("inner", [ATTENTION, {"use": "mamba", "state": 3}, {"use": "multiscale", "size": 2}])
def test_a_model_streams_as_it_reads(outer, inner):
    layer = {"use": "multiscale", "size": SIZE, "outer": outer, "inner": inner}
    net = panformer.build(
        {
            "width": WIDTH,
            "causal": True,
            "embed": "bytes",
            "head": {"use": "lm", "vocab": 256},
            "schedule": [{"mixer": layer, "residual": "bare"}],
        },
        seed=0,
    )
    net, x = net.double().eval(), torch.randint(256, (2, 15))
    out, stream = [], net.start(2)
    for token in x.split(1, 1):
        y, stream = net.chunk(token, stream)
        out.append(y)
    torch.testing.assert_close(torch.cat(out, 1), net(x))


@pytest.mark.parametrize("piece", [1, 3, 100])
def test_activations_made_again_give_the_same_gradients(piece):
    x, at, grads = _values(14), Layout.dense(2, 14), []
    for options in ({}, {"piece": piece}):
        m = _mixer(**options).train()
        grads.append(torch.autograd.grad(m(x, at).square().sum(), list(m.parameters())))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_what_cannot_be_a_stage_is_refused():
    with pytest.raises(InputError, match="causal one"):
        _mixer(inner={"use": "fourier"})
    with pytest.raises(InputError, match="does not stream"):
        _mixer(outer={"use": "chunks", "mixer": ATTENTION})
