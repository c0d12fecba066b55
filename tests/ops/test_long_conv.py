"""Long convolutions: matrix and transform are the sum written out in every batch form, and streams equal the whole."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from panformer.core.layout import Layout
from panformer.ops.backend import only
from panformer.ops.kernels import long_conv_fft, long_conv_sums
from panformer.ops.long_conv import convolve, long_conv, long_conv_chunk, reference
from panformer.ops.selective_scan import selective_scan

from .batches import BATCHES, MIXED

WIDTH = 3
LAYOUTS = {**BATCHES, "one": Layout.dense(2, 1)}
SIDES = {"causal": (10, 0), "two-sided": (19, 9), "spare": (40, 15), "short": (4, 1), "ahead": (3, 5), "far": (2, 30)}


@pytest.fixture(autouse=True)
def always(monkeypatch):
    monkeypatch.setattr(long_conv_fft, "LEAST", 0)


def _inputs(at, taps, seed=0):
    rng = torch.Generator().manual_seed(seed)
    shapes = (at.batch, at.length, WIDTH), (WIDTH, taps)
    return [torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in shapes]


def _written(x, h, at, ahead):
    """The sum, token by token and sequence by sequence."""
    out = torch.zeros_like(x)
    for row in range(at.batch):
        for name in at.seg[row].unique().tolist():
            here = (at.seg[row] == name).nonzero()[:, 0].tolist() if name >= 0 else []
            for i, t in enumerate(here):
                for j, s in enumerate(here):
                    if 0 <= i - j + ahead < h.shape[1]:
                        out[row, t] = out[row, t] + h[:, i - j + ahead] * x[row, s]
    return out


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", LAYOUTS)
def test_is_the_sum_written_out(name, side):
    at, (taps, ahead) = LAYOUTS[name], SIDES[side]
    x, h = _inputs(at, taps)
    junk = torch.where(at.valid[..., None], x, torch.nan)
    want = _written(x, h, at, ahead)
    for backend in ("reference", "fft"):
        with only(backend, convolve):
            torch.testing.assert_close(long_conv(junk, h, at, ahead), want, rtol=1e-10, atol=1e-12, msg=backend)


@pytest.mark.parametrize("new", [1, 3, 33])
@pytest.mark.parametrize(("taps", "ahead"), [(33, 0), (65, 32), (50, 0), (7, 2), (5, 40)])
def test_transform_and_sums_are_the_toeplitz_matrix_with_its_gradients(taps, ahead, new):
    results = []
    for run in (reference, long_conv_fft.run, long_conv_sums.run):
        leaves = [z.requires_grad_() for z in _inputs(Layout.dense(2, 33), taps)]
        y = run(*leaves, ahead, new)
        results.append([y, *torch.autograd.grad(y.sin().sum(), leaves)])
    for one, other, last in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(one, last, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", ["reference", "fft"])
def test_gradients_twice_and_none_across_documents(backend):
    leaves = [z.requires_grad_() for z in _inputs(MIXED, 9)]
    with only(backend, convolve):
        assert gradcheck(lambda x, h: long_conv(x, h, MIXED, 4), leaves, fast_mode=True)
        assert gradgradcheck(lambda x, h: long_conv(x, h, MIXED, 4), leaves, fast_mode=True)
        (g,) = torch.autograd.grad(long_conv(*leaves, MIXED, 4)[0, 2:6].square().sum(), leaves[:1])
    assert (g[0, 2:6] != 0).all()
    assert (g[0, :2] == 0).all() and (g[0, 6:] == 0).all() and (g[1] == 0).all()


@pytest.mark.parametrize("widths", [(20,), (1,) * 20, (7, 1, 10, 2)])
@pytest.mark.parametrize("taps", [20, 31, 6, 1])
@pytest.mark.parametrize("grad", [False, True])
def test_stream_is_whole(widths, taps, grad):
    at = Layout.dense(2, 20)
    x, h = _inputs(at, taps)
    past, outs, i = x[:, :0], [], 0
    with torch.set_grad_enabled(grad):
        for w in widths:
            y, past = long_conv_chunk(x[:, i : i + w], h, at.span(i, i + w), past)
            outs.append(y)
            i += w
    torch.testing.assert_close(torch.cat(outs, 1), _written(x, h, at, 0), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(past, x[:, 20 - min(20, taps) :])


@pytest.mark.parametrize("taps", [12, 4])
def test_ragged_pieces_with_padding_anywhere(taps):
    whole = Layout.dense(3, 12)
    x, h = _inputs(whole, taps)
    want, past, done = _written(x, h, whole, 0), x[:, :0], [0, 0, 0]
    for slots in (([0, 3], [], [1, 2, 4]), ([4], [0, 1, 2, 3, 4], []), ([0, 2], [1, 2], [0, 1, 2])):
        piece, seg = x.new_zeros(3, 5, WIDTH), torch.full((3, 5), -1)
        for row, here in enumerate(slots):
            seg[row, here], piece[row, here] = 0, x[row, done[row] : done[row] + len(here)]
        y, past = long_conv_chunk(piece, h, Layout(seg, torch.zeros(3, 5, 1).long()), past)
        for row, here in enumerate(slots):
            got, right = y[row, here], want[row, done[row] : done[row] + len(here)]
            torch.testing.assert_close(got, right, rtol=1e-10, atol=1e-12)
            done[row] += len(here)
    for row, n in enumerate(done):
        kept = min(n, past.shape[1])
        torch.testing.assert_close(past[row, past.shape[1] - kept :], x[row, n - kept : n])
        assert (past[row, : past.shape[1] - kept] == 0).all()


def test_a_diagonal_state_space_is_a_long_convolution():
    """S4D: the filter is sum_n C_n exp(delta A_n t) delta."""
    rng, at = torch.Generator().manual_seed(0), Layout.dense(2, 30)
    x, _ = _inputs(at, 1)
    delta, a, c = (torch.randn(WIDTH, n, generator=rng, dtype=torch.float64) for n in (1, 4, 4))
    delta, a = delta.exp(), -a.exp()
    want, _ = selective_scan(x, delta[:, 0].expand_as(x), a, torch.ones_like(c), c, None, None)
    h = (c[..., None] * torch.exp((delta * a)[..., None] * torch.arange(30)) * delta[..., None]).sum(1)
    torch.testing.assert_close(long_conv(x, h, at), want)


def test_later_tokens_leave_a_trace_below_rounding_alone():
    at = Layout.dense(1, 300)
    x, h = _inputs(at, 300)
    other = x.clone()
    other[:, 150:] += 1000
    one, two = (long_conv_fft.run(z, h, 0, 300)[:, :150] for z in (x, other))
    assert 0 < (one - two).abs().max() < 1e-9 * one.abs().max()  # no more than rounding of the numbers put in
    assert torch.equal(*(reference(z, h, 0, 300)[:, :150] for z in (x, other)))


def test_new_tokens_cost_a_cycle_of_what_is_kept():
    for n in range(1, 400):
        assert n <= long_conv_fft.fast(n) <= 1.34 * n
    x, h = _inputs(Layout.dense(1, 90), 90)
    sizes, plain = [], torch.fft.rfft
    with pytest.MonkeyPatch.context() as heard:
        heard.setattr(torch.fft, "rfft", lambda z, n: sizes.append(n) or plain(z, n))
        long_conv_fft.run(x, h, 0, 6)
        long_conv_fft.run(x, h, 0, 90)
    assert sizes == [96, 96, 192, 192]


def test_few_new_tokens_are_summed_and_few_tokens_left_to_the_matrix(monkeypatch):
    monkeypatch.setattr(long_conv_fft, "LEAST", 32)
    x, h = _inputs(Layout.dense(1, 32), 32)
    assert convolve.why(x, h, 0, 2)["sums"] is None
    assert "more than 2" in convolve.why(x, h, 0, 3)["sums"]
    assert convolve.why(x, h, 0, 32)["fft"] is None
    assert "32" in convolve.why(x[:, 1:], h, 0, 31)["fft"]
