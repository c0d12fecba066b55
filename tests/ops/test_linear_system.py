"""The Legendre matrices are those of the paper, held as scipy holds them; all forms of the memory are one."""

import pytest
import torch

from panformer.core.layout import Layout
from panformer.ops import backend
from panformer.ops.kernels.linear_system_blocks import BLOCKS, responses
from panformer.ops.kernels.linear_system_fft import FFT
from panformer.ops.legendre import held, legendre, recall
from panformer.ops.linear_system import linear_system, reference


@pytest.mark.parametrize(("order", "window"), [(1, 4.0), (6, 12.5), (64, 64.0), (128, 784.0)])
def test_the_discrete_system_is_scipys(order, window):
    signal = pytest.importorskip("scipy.signal", reason="no scipy")
    a, b = legendre(order, window)
    want = signal.cont2discrete((a.numpy(), b[:, None].numpy(), a[:1].numpy(), a[:1, :1].numpy()), 1.0, "zoh")
    for ours, theirs in zip(held(a, b), (want[0], want[1][:, 0]), strict=True):
        torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=0, atol=1e-10)


def test_the_matrices_are_written_as_in_the_paper():
    a, b = legendre(5, 3.0)
    for i in range(5):
        assert b[i] == (2 * i + 1) / 3 * (-1) ** i
        for j in range(5):
            assert a[i, j] == (2 * i + 1) / 3 * (-1 if i < j else (-1) ** (i - j + 1)), (i, j)


@pytest.mark.parametrize("back", [0.0, 0.25, 0.5, 1.0])
def test_the_memory_reads_a_slow_signal_anywhere_in_its_window(back):
    window, length = 200.0, 600
    u = torch.sin(torch.arange(length, dtype=torch.float64) / 40)
    m, _ = linear_system(u[None, :, None], *held(*legendre(12, window)), Layout.dense(1, length), None)
    now = 500 + 0.5  # a held input lags half a token behind
    got = float(m[0, 500, 0] @ recall(12, torch.tensor(back, dtype=torch.float64)))
    want = float(torch.sin(torch.tensor((now - back * window) / 40 - 0.5 / 40)))
    assert abs(got - want) < 0.02, f"{back} of the window ago: {got:.4f}, was {want:.4f}"


def test_a_window_too_long_ago_is_forgotten():
    h = responses(*held(*legendre(8, 30.0)), 300)
    assert h[60:].abs().max() < 0.02 * h.abs().max()


@pytest.mark.parametrize("kernel", [FFT, BLOCKS], ids=lambda k: k.name)
@pytest.mark.parametrize("order", [1, 7, 40])
def test_every_form_is_the_recurrence_with_its_gradient(kernel, order):
    torch.manual_seed(0)
    a, b = held(*legendre(order, 50.0))
    for at in (Layout.dense(2, 150), Layout.packed([70, 1, 66]), Layout.padded([90, 3, 41], side="left")):
        u = torch.randn(at.batch, at.length, 2, dtype=torch.float64, requires_grad=True)
        want, got = reference(u, a, b, at, None), kernel.run(u, a, b, at, None)
        for x, y in zip(want, got, strict=True):
            torch.testing.assert_close(y, x, rtol=0, atol=1e-11)
        ga, gb = (torch.autograd.grad(sum(z.sin().sum() for z in f), u)[0] for f in (want, got))
        torch.testing.assert_close(gb, ga, rtol=0, atol=1e-10)


def test_blocks_go_on_from_a_memory_and_rows_without_tokens_keep_theirs():
    a, b = held(*legendre(5, 20.0))
    m = torch.randn(3, 2, 5, dtype=torch.float64)
    seg = torch.full((3, 70), -1)
    seg[0, :], seg[1, 3:60:2] = 0, 0
    at = Layout(seg, torch.zeros(3, 70, 1, dtype=torch.int64))
    u = torch.where(at.valid[..., None], torch.randn(3, 70, 2, dtype=torch.float64), torch.nan)
    for x, y in zip(reference(u, a, b, at, m), BLOCKS.run(u, a, b, at, m), strict=True):
        torch.testing.assert_close(y, x, rtol=0, atol=1e-11)
    assert torch.equal(linear_system(u, a, b, at, m)[1][2], m[2])


def test_which_form_runs():
    a, b = held(*legendre(3, 9.0))
    for length, m, form in ((100, None, "fft"), (40, None, "blocks"), (100, 0, "blocks"), (1, 0, "reference")):
        state = None if m is None else torch.zeros(1, 1, 3, dtype=torch.float64)
        with backend.record() as used:
            linear_system(torch.randn(1, length, 1, dtype=torch.float64), a, b, Layout.dense(1, length), state)
        assert list(used) == [f"linear_system:{form}"]
