"""Depthwise convolution: equals the formula in every batch form, and a stream equals the whole."""

import pytest
import torch
from torch.autograd import gradgradcheck
from torch.nn import functional as F

from panformer.core.layout import Layout
from panformer.ops import conv
from panformer.ops.conv import depthwise, depthwise_chunk, from_gaps, headwise, reference, to_gaps

NOWHERE = torch.zeros(1, 1, 1).long()
LAYOUTS = {
    "dense": Layout.dense(3, 7),
    "left": Layout.padded([7, 3, 1], side="left"),
    "right": Layout.padded([2, 7, 5]),
    "packed": Layout.packed([1, 2, 3, 1, 6]),
    "packed and padded": Layout(
        torch.tensor([[0, 0, 1, 1, 1, -1, -1], [0, 1, 2, 2, 3, 3, 3]]), NOWHERE.expand(2, 7, 1)
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize(("size", "left"), [(4, 3), (1, 0), (3, 1), (5, 2), (4, 2), (3, 0)])
def test_equals_the_formula(name, size, left):
    at = LAYOUTS[name]
    x = torch.randn(at.batch, at.length, 4, dtype=torch.float64)
    weight, bias = torch.randn(4, size, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    torch.testing.assert_close(depthwise(at.clean(x), weight, bias, at, left), reference(x, weight, bias, at, left))
    torch.testing.assert_close(depthwise(at.clean(x), weight, None, at, left), reference(x, weight, None, at, left))


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize(("size", "left"), [(1, 0), (4, 3), (5, 2), (4, 0), (9, 4)])
def test_one_kernel_for_all_channels_of_a_head(name, size, left, monkeypatch):
    for limit, value in {"TILE": 3, "BAND": 0, "LONG": 0}.items():
        monkeypatch.setattr(conv, limit, value)
    at = LAYOUTS[name]
    x = torch.randn(at.batch, at.length, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, size, dtype=torch.float64, requires_grad=True)
    answers = []
    for y in (headwise(at.clean(x), weight, at, left), reference(x, weight.repeat_interleave(3, 0), None, at, left)):
        answers.append([y, *torch.autograd.grad(y.sin().sum(), (x, weight))])
    for got, want in zip(*answers, strict=True):
        torch.testing.assert_close(got, want)
    assert gradgradcheck(lambda x, w: headwise(at.clean(x), w, at, left), (x, weight))


def test_dense_is_torch_conv1d():
    x, weight = torch.randn(2, 9, 4, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    right = F.conv1d(x.mT, weight[:, None], padding=2, groups=4)[..., :9].mT
    torch.testing.assert_close(depthwise(x, weight, None, Layout.dense(2, 9), 2), right)


@pytest.mark.parametrize("widths", [(12,), (1,) * 12, (5, 1, 6)])
def test_stream_is_whole(widths):
    x = torch.randn(2, 12, 4, dtype=torch.float64)
    weight, bias = torch.randn(4, 4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    whole = depthwise(x, weight, bias, Layout.dense(2, 12), 3)
    past, outs, i = x.new_zeros(2, 3, 4), [], 0
    for w in widths:
        y, past = depthwise_chunk(x[:, i : i + w], weight, bias, Layout.dense(2, w, i), past)
        outs.append(y)
        i += w
    torch.testing.assert_close(torch.cat(outs, 1), whole)
    torch.testing.assert_close(past, x[:, -3:])


def test_ragged_stream_keeps_the_last_valid_tokens():
    """Rows of 5, 2 and 0 tokens with holes between them; then one more token each."""
    seg = torch.tensor([[0, -1, 0, 0, 0, 0, -1], [-1, 0, -1, -1, -1, 0, -1], [-1] * 7])
    at = Layout(seg, NOWHERE.expand(3, 7, 1))
    x = torch.randn(3, 7, 2, dtype=torch.float64)
    x[~at.valid] = torch.nan
    weight = torch.randn(2, 4, dtype=torch.float64)
    past = torch.randn(3, 3, 2, dtype=torch.float64)
    y, now = depthwise_chunk(at.clean(x), weight, None, at, past)
    assert y.isfinite().all() and now.isfinite().all()
    for row in range(3):
        line = torch.cat([past[row], x[row, at.valid[row]]])
        torch.testing.assert_close(now[row], line[-3:])
        if at.valid[row].any():
            right = F.conv1d(line.mT[None], weight[:, None], groups=2)[0].mT
            torch.testing.assert_close(y[row, at.valid[row]], right)


@pytest.mark.parametrize("name", LAYOUTS)
def test_gaps_come_back(name):
    at = LAYOUTS[name]
    x = torch.randn(at.batch, at.length, 2)
    line = to_gaps(x, at, 2, fill=7.0)
    assert (line[:, :2] == 7).all() and (line[:, -2:] == 7).all()
    assert torch.equal(from_gaps(line, at, 2, 2), at.clean(x))


def test_second_derivatives():
    at = LAYOUTS["packed and padded"]
    x = at.clean(torch.randn(2, 7, 2, dtype=torch.float64)).requires_grad_()
    weight = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(lambda x, w: depthwise(x, w, None, at, 2), (x, weight))
