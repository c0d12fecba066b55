"""The compiled selective scan: the loop's values and gradients over several blocks, and a part of no call it is not for."""

import subprocess
import sys

import pytest
import torch
from torch.autograd import gradgradcheck

from panformer.measure.cost import trace
from panformer.ops.backend import only, record
from panformer.ops.check import compare, tolerance
from panformer.ops.kernels import numba_here, selective_scan_numba
from panformer.ops.kernels.selective_scan_numba import run
from panformer.ops.selective_scan import reference, selective_scan

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not numba_here._installed(), reason="numba is not installed")


def _inputs(batch, length, width, states, dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    x, b, c, h = draw(batch, length, width), draw(batch, length, states), draw(batch, length, states), None
    delta, a, h = draw(batch, length, width).exp() * 0.3, -draw(width, states).exp(), draw(batch, width, states)
    reset = torch.rand(batch, length, generator=rng) < 0.1
    return [z.to(dtype) for z in (x, delta, a, b, c)] + [reset, h.to(dtype)]


def _answers(call, inputs):
    """Outputs and gradients of a call."""
    own = [z if z is None or z.dtype == torch.bool else z.detach().clone().requires_grad_() for z in inputs]
    y, h = call(*own)
    leaves = [z for z in own if z is not None and z.requires_grad]
    return [y, h, *torch.autograd.grad(y.double().sin().sum() + h.double().cos().sum(), leaves)]


@pytest.mark.parametrize(
    ("batch", "length", "width", "states"),
    [(1, 31, 16, 4), (2, 32, 5, 3), (1, 33, 144, 2), (3, 2, 1, 1), (2, 101, 290, 1), (1, 97, 40, 16)],
)
@pytest.mark.parametrize("bare", [True, False], ids=["no state", "state and resets"])
def test_it_is_the_loop(batch, length, width, states, bare):
    """Blocks of 32 tokens, vectors of 16 channels and groups of 128: none, part of one, one, more."""
    inputs = _inputs(batch, length, width, states)
    if bare:
        inputs[5:] = None, None
    for dtype, limit in ((torch.float64, 1e-11), (torch.float32, 3e-5)):
        cast = [z.to(dtype) if z is not None and z.is_floating_point() else z for z in inputs]
        exact = [z.double() if z is not None and z.is_floating_point() else z for z in cast]
        for got, want in zip(_answers(run, cast), _answers(reference, exact), strict=True):
            assert got.dtype == dtype
            assert (got.double() - want).abs().max() <= limit * want.abs().max().clamp_min(1)


def test_a_fault_is_found_by_the_check_before_first_use():
    """The sample tells when resets, the state or the gradient of the rates go missing."""

    def still(x, delta, a, *rest):
        return run(x, delta, a.detach(), *rest)

    for broken in (lambda *z: run(*z[:5], None, z[6]), lambda *z: run(*z[:6], None), still):
        assert compare(broken, reference, selective_scan.sample, CPU, torch.float32, True).fault is not None
    found = compare(run, reference, selective_scan.sample, CPU, torch.float32, True)
    assert found.fault is None and found.error < tolerance(torch.float32) / 100


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_powers_are_as_exact_as_the_format(dtype):
    """One token that scales a state by exp(-s): from 1 to 0, where numbers end; none where delta is none."""
    s = torch.cat([torch.linspace(0, 90, 5000, dtype=dtype), torch.tensor([1e4, torch.inf, torch.nan], dtype=dtype)])
    none = torch.zeros(1, 1, len(s), dtype=dtype)
    _, last = run(none, s.expand_as(none), -torch.ones(len(s), 1, dtype=dtype), *(none[..., :1],) * 2, None,
                  torch.ones(1, len(s), 1, dtype=dtype))  # fmt: skip
    got, want = last.flatten()[:-2].double(), torch.exp(-s[:-2].double())
    far = (got - want).abs() / want.clamp_min(torch.finfo(dtype).tiny)
    assert far[s[:-2] < 87].max() < 90 * torch.finfo(dtype).eps and got[-1] == 0
    assert far[s[:-2] < 0.5].max() < 2 * torch.finfo(dtype).eps and got[0] == 1
    assert last.flatten()[-1].isnan()


def test_the_answer_does_not_depend_on_threads_or_on_how_inputs_lie():
    inputs = _inputs(2, 70, 300, 3, torch.float32)
    lain = [z.transpose(0, 1).contiguous().transpose(0, 1) for z in inputs]
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found += [_answers(run, inputs), _answers(run, lain)]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_an_empty_batch():
    inputs = _inputs(0, 5, 4, 3)
    for got, want in zip(_answers(run, inputs), _answers(reference, inputs), strict=True):
        assert torch.equal(got, want)


def test_second_derivatives():
    x, delta, a, b, c, reset, h = _inputs(1, 4, 2, 2)
    leaves = [z.requires_grad_() for z in (x, delta, a, b, c, h)]
    assert gradgradcheck(lambda *z: run(*z[:5], reset, z[5]), leaves)


def test_narrow_formats_are_summed_in_float32():
    for dtype in (torch.bfloat16, torch.float16):
        narrow = _inputs(1, 200, 20, 3, dtype)
        exact, _ = reference(*(z if z.dtype == torch.bool else z.double() for z in narrow))
        y, last = run(*narrow)
        assert y.dtype == dtype and last.dtype == torch.float32
        assert (y.double() - exact).abs().max() <= torch.finfo(dtype).eps * exact.abs().max()


def test_it_keeps_a_state_in_thirty_two():
    sizes = []
    leaves = [z.requires_grad_() if z.is_floating_point() else z for z in _inputs(1, 512, 64, 16, torch.float32)]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.numel()), t)[1], lambda t: t):
        run(*leaves)
    assert sum(sizes) < 512 * 64 * 16 / 32 + sum(z.numel() for z in leaves) + 1


def test_it_says_why_it_refuses(monkeypatch):
    x, delta, a, b, c, reset, h = _inputs(1, 8, 4, 2)

    def why(*args):
        return selective_scan.why(*args)["numba"]

    assert why(x, delta, a, b, c, reset, h) == "fewer than 4194304 numbers of state in all: not worth compiling"
    monkeypatch.setattr(selective_scan_numba, "LEAST", 0)
    assert why(x, delta, a, b, c, reset, h) is None
    assert "one token" in why(x[:, :1], delta[:, :1], a, b[:, :1], c[:, :1], None, h)
    assert why(x, delta, a, b[0, :4], c, None, h) == "the weights do not depend on time"
    assert why(*(z.to("meta") for z in (x, delta, a, b, c)), None, None) == "not a CPU"
    assert why(x.to(torch.float8_e4m3fn), delta, a, b, c, reset, h) == "no code for float8_e4m3fn"
    with torch.utils.flop_counter.FlopCounterMode(display=False):
        assert why(x, delta, a, b, c, None, h) == "operations are counted or transformed"
    told = []
    torch.func.vmap(lambda x: (told.append(why(x, delta, a, b, c, None, h)), x)[1])(x[None])
    assert told == ["operations are counted or transformed"]
    monkeypatch.setattr(numba_here, "_installed", lambda: False)
    assert why(x, delta, a, b, c, reset, h) == "numba is not installed: pip install 'panformer[fast]'"


def test_costs_are_counted_as_if_it_were_not_there(monkeypatch):
    inputs = _inputs(1, 40, 4, 2)
    counted = trace(lambda x: selective_scan(x, *inputs[1:])[0], inputs[0])
    monkeypatch.setattr(selective_scan_numba, "LEAST", 0)
    assert trace(lambda x: selective_scan(x, *inputs[1:])[0], inputs[0]) == counted
    with record() as used:
        selective_scan(*inputs)
    assert used == {"selective_scan:numba": 1}


def test_compiled_and_exported_code_hold_the_formula(monkeypatch):
    monkeypatch.setattr(selective_scan_numba, "LEAST", 0)
    inputs = _inputs(1, 40, 4, 2)
    want, _ = reference(*inputs)
    with record() as used:
        y, _ = torch.compile(selective_scan, backend="eager")(*inputs)
    assert used["selective_scan:numba"] == 0
    torch.testing.assert_close(y, want)

    class Scan(torch.nn.Module):
        def forward(self, *z):
            return selective_scan(*z)[0]

    program = torch.export.export(Scan(), tuple(inputs))
    torch.testing.assert_close(program.module()(*inputs), want)


def test_it_runs_in_a_child_of_a_process_that_ran_it():
    """Its threads end with the call, so that a fork finds none of them (torch's own would hang; these inputs start none)."""
    code = """
import os, torch
from panformer.ops.kernels.selective_scan_numba import run
torch.set_num_threads(2)
x, w = torch.ones(1, 40, 300), torch.ones(1, 40, 2)
y, _ = run(x, x, -torch.ones(300, 2), w, w, None, None)
if os.fork() == 0:
    os._exit(0 if torch.equal(y, run(x, x, -torch.ones(300, 2), w, w, None, None)[0]) else 1)
assert os.wait()[1] == 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_without_a_folder_for_compiled_code_it_is_compiled_anew(monkeypatch):
    from numba.core import caching

    from panformer.ops.kernels import selective_scan_lanes_jit as lanes

    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    assert lanes._compiled(_double)(3) == 6


def _double(x):
    return x + x


def test_numba_is_imported_when_a_call_is_big_enough_and_not_before():
    code = """
import sys, torch, panformer
from panformer.ops.selective_scan import selective_scan
from panformer.ops.backend import operators
operators()
x, w = torch.ones(1, 8, 4), torch.ones(1, 8, 2)
selective_scan(x, x, -torch.ones(4, 2), w, w, None, None)
assert "numba" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_pinned_it_refuses_in_words():
    with only("numba", selective_scan), pytest.raises(RuntimeError, match="numba refuses: fewer than"):
        selective_scan(*_inputs(1, 8, 4, 2))
