"""CEMA: blocks equal the loop in every batch form, the loop the formula and a long convolution, and streams the whole."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from panformer.core.layout import Layout
from panformer.ops.backend import only
from panformer.ops.cema import cema, reference, traced
from panformer.ops.kernels import cema_blocks

from .batches import BATCHES, MIXED

WIDTH, STATE = 3, 4
LAYOUTS = BATCHES


@pytest.fixture(params=[4, 3, 64, 1], autouse=True)
def block(request, monkeypatch):
    monkeypatch.setattr(cema_blocks, "SIZE", request.param)


def _inputs(at, seed=0):
    """x, fall, turn, weight; some averages forget almost all from token to token."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    fall = -draw(WIDTH, STATE).exp() * torch.tensor([0.1, 0.3, 1.0, 30.0])
    return [draw(at.batch, at.length, WIDTH), fall, 2 * draw(WIDTH, STATE), draw(WIDTH, STATE, 2)]


@pytest.mark.parametrize("name", LAYOUTS)
def test_blocks_are_the_loop(name):
    at, results = LAYOUTS[name], []
    for backend in ("reference", "blocks"):
        leaves = [z.requires_grad_() for z in _inputs(at)]
        with only(backend, cema):
            y, _ = cema(*leaves, at, None)
        results.append([y, *torch.autograd.grad(y.sin().sum(), leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_is_the_formula_and_a_convolution():
    at = Layout.dense(2, 10)
    x, fall, turn, weight = _inputs(at)
    q, c = torch.polar(fall.exp(), turn), torch.view_as_complex(weight)
    h, want = torch.zeros(2, WIDTH, STATE, dtype=torch.complex128), []
    for t in range(10):
        h = q * h + x[:, t, :, None]
        want.append((c * h).sum(-1).real)
    want = torch.stack(want, 1)
    torch.testing.assert_close(reference(x, fall, turn, weight, at, None)[0], want)
    kernel = (c[..., None] * q[..., None] ** torch.arange(10)).sum(1).real  # (D, T)
    waves = torch.fft.rfft(kernel, 20) * torch.fft.rfft(x.mT, 20)
    torch.testing.assert_close(cema(x, fall, turn, weight, at, None)[0], torch.fft.irfft(waves, 20)[..., :10].mT)


@pytest.mark.parametrize("widths", [(10,), (1,) * 10, (3, 5, 2), (4, 4, 2)])
def test_stream_is_whole(widths):
    at = Layout.dense(2, 10)
    x, *rates = _inputs(at)
    h, outs, i = torch.zeros(2, WIDTH, STATE, 2, dtype=torch.float64), [], 0
    whole, last = reference(x, *rates, at, h)
    for w in widths:
        y, h = cema(x[:, i : i + w], *rates, at.span(i, i + w), h)
        outs.append(y)
        i += w
    torch.testing.assert_close(torch.cat(outs, 1), whole)
    torch.testing.assert_close(h, last)


def test_ragged_chunk_blocks_are_the_loop():
    """Padding anywhere, a row without a token, and a state from before."""
    seg = torch.tensor([[0, -1, 0, 0, -1, 0, 0, 0, 0], [-1] * 9, [-1, -1, -1, -1, 0, 0, 0, -1, -1]])
    at, results = Layout(seg, torch.zeros(3, 9, 1, dtype=torch.int64)), []
    state = torch.randn(3, WIDTH, STATE, 2, dtype=torch.float64).requires_grad_()
    leaves = [z.requires_grad_() for z in _inputs(at)]
    for run in (reference, cema):
        y, h = run(*leaves, at, state)
        results.append([y, h, *torch.autograd.grad(y.sin().sum() + h.cos().sum(), [*leaves, state])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(results[1][1][1], state[1])  # nothing new: nothing changed


def test_gradients_twice_and_none_across_documents():
    leaves = [z.requires_grad_() for z in _inputs(MIXED)]

    def run(*z):
        return cema(*z, MIXED, None)[0]

    assert gradcheck(run, leaves, fast_mode=True)
    assert gradgradcheck(run, leaves, fast_mode=True)
    (g,) = torch.autograd.grad(run(*leaves)[0, 2:6].square().sum(), leaves[:1])
    assert (g[0, :2] == 0).all() and (g[0, 6:] == 0).all() and (g[1] == 0).all()


def test_nothing_turns_is_a_real_average():
    """Mega's: with angle 0 imaginary weights count for nothing."""
    at = Layout.dense(2, 10)
    x, fall, turn, weight = _inputs(at)
    y, _ = cema(x, fall, torch.zeros_like(turn), weight, at, None)
    h, want = torch.zeros(2, WIDTH, STATE, dtype=torch.float64), []
    for t in range(10):
        h = fall.exp() * h + x[:, t, :, None]
        want.append((weight[..., 0] * h).sum(-1))
    torch.testing.assert_close(y, torch.stack(want, 1))


def test_traced_is_the_reference():
    args = _inputs(MIXED)
    torch.testing.assert_close(reference(*args, MIXED, None)[0], traced(*args, MIXED, None)[0])
