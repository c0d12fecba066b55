"""The running softmax: scan, loop and stream equal the softmax over what came before, however large the scores are."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from panformer.ops.backend import only
from panformer.ops.prefix_softmax import nothing, prefix_softmax, reference, traced

HEADS, SIZE = 2, 3


def _inputs(length=13, scale=1.0, seed=0):
    rng = torch.Generator().manual_seed(seed)
    score = scale * torch.randn(2, length, HEADS, generator=rng, dtype=torch.float64)
    return score, torch.randn(2, length, HEADS, SIZE, generator=rng, dtype=torch.float64)


def _softmax(score, v):
    """By the T x T matrix."""
    length = score.shape[1]
    logits = score.mT[:, :, None].expand(-1, -1, length, -1)  # (B, H, T, S)
    weight = logits.masked_fill(~torch.ones(length, length, dtype=torch.bool).tril(), -torch.inf).softmax(-1)
    return (weight @ v.transpose(1, 2)).transpose(1, 2)


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("backend", ["reference", "tree"])
def test_is_the_softmax_over_the_past(backend, scale):
    inputs = [z.requires_grad_() for z in _inputs(scale=scale)]
    with only(backend, prefix_softmax):
        y, last = prefix_softmax(*inputs, None, None, nothing(2, HEADS, SIZE, inputs[0]))
    want = _softmax(*inputs)
    torch.testing.assert_close(y, want, rtol=1e-10, atol=1e-12)
    slopes = [torch.autograd.grad(z.sin().sum(), inputs) for z in (y, want)]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(last.max, inputs[0].amax(1))


@pytest.mark.parametrize("widths", [(13,), (1,) * 13, (4, 1, 8)])
def test_stream_is_whole(widths):
    score, v = _inputs()
    state, out = nothing(2, HEADS, SIZE, score), []
    for a, b in zip(score.split(widths, 1), v.split(widths, 1), strict=True):
        y, state = prefix_softmax(a, b, None, None, state)
        out.append(y)
    torch.testing.assert_close(torch.cat(out, 1), _softmax(score, v))


def test_nothing_passes_a_reset_and_absent_tokens_change_nothing():
    score, v = _inputs()
    score[:, :5] += 1e4
    reset, live = torch.zeros(2, 13, dtype=torch.bool), torch.ones(2, 13, dtype=torch.bool)
    reset[:, 5], live[:, 8] = True, False
    v[:, 8] = torch.nan
    score.requires_grad_()
    start = nothing(2, HEADS, SIZE, score)
    here = [i for i in range(5, 13) if i != 8]
    for run in (prefix_softmax, reference, traced):
        y, _ = run(score, v, live, reset, start)
        torch.testing.assert_close(y[:, here], _softmax(score[:, here], v[:, here]))
        (slope,) = torch.autograd.grad(y[:, here].sin().sum(), score)
        assert slope.isfinite().all() and not slope[:, :5].any() and not slope[:, 8].any()


def test_gradients_twice():
    inputs = [z.requires_grad_() for z in _inputs(5)]

    def run(score, v):
        return prefix_softmax(score, v, None, None, nothing(2, HEADS, SIZE, score))[0]

    assert gradcheck(run, inputs, fast_mode=True) and gradgradcheck(run, inputs, fast_mode=True)
