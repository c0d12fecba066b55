"""A kernel serves where it has given the reference's answer to its operator's sample; what watches a call sees no check."""

import threading
import warnings

import pytest
import torch
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from panformer.core.layout import Layout
from panformer.core.score import Same
from panformer.measure.cost import of_step, trace
from panformer.ops import check
from panformer.ops.attend import attend
from panformer.ops.backend import Kernel, Operator, only, operators, record
from panformer.ops.check import Draw, compare, tolerance

CPU = torch.device("cpu")
FORMATS = [torch.float64, torch.float32, torch.bfloat16]
KERNELS = [(o, k) for o in operators() for k in o.kernels]


def reference(x, w):
    return x.sin() * w, x.sum()


def sample(device, dtype):
    draw = Draw(device, dtype)
    return draw(3, 4), draw(4)


class WrongSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x.sin() * w

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g * x.cos() * w * 1.01, (g * x.sin()).sum(0)


def missing(x, w):
    raise ModuleNotFoundError("No module named 'triton'")


FAULTS = {
    "value": (lambda x, w: (x.sin() * w * 1.01, x.sum()), "its error 1.0e-02 is over"),
    "nan": (lambda x, w: (x.sin() * w + torch.nan, x.sum()), "its error inf is over"),
    "shape": (lambda x, w: ((x.sin() * w)[:1], x.sum()), "its error inf is over"),
    "gradient": (lambda x, w: (WrongSlope.apply(x, w), x.sum()), "its error .* is over"),
    "raises": (missing, "it raised ModuleNotFoundError: No module named 'triton'"),
}


def planted(run, *more):
    return Operator("planted", reference, Kernel("bad", lambda *_: None, run), *more, sample=sample)


def right():
    return Kernel("good", lambda *_: None, lambda x, w: (x.sin().mul(w), x.sum()))


@pytest.mark.parametrize(("operator", "kernel"), KERNELS, ids=lambda x: x.name)
@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_every_kernel_here_answers_its_sample_like_the_reference(operator, kernel, dtype):
    if (why := kernel.lacks(CPU, dtype)) is not None:
        pytest.skip(why)
    made = kernel.sample or operator.sample
    state = torch.get_rng_state()
    first, second = made(CPU, dtype), made(CPU, dtype)
    assert torch.equal(torch.get_rng_state(), state), "a sample draws from the global generator"
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True) if isinstance(a, torch.Tensor))
    numbers = [t for t in tree_leaves(first) if isinstance(t, torch.Tensor) and t.is_floating_point()]
    assert numbers[0].dtype == dtype and numbers[0].numel() < 5000
    found = compare(kernel.run, operator.reference, made, CPU, dtype, True)
    assert found.fault is None and found.error < tolerance(dtype) / 1.5, found


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_left_out_with_one_warning(fault):
    run, told = FAULTS[fault]
    operator = planted(run, right())
    x, w = torch.randn(5, 4, requires_grad=True), torch.randn(4)
    with pytest.warns(
        RuntimeWarning, match=f"planted: kernel bad is left out on cpu .* in float32.*: .*{told}"
    ) as seen:
        y, _ = operator(x, w)
    assert len(seen) == 1 and torch.equal(y, x.sin() * w)
    with warnings.catch_warnings(), record() as used:
        warnings.simplefilter("error")
        operator(x, w)
        operator(x.detach(), w)
        torch.compile(operator, backend="eager")(x, w)
    assert used == {"planted:good": 3}
    with only("bad"), pytest.raises(RuntimeError, match="kernel bad refuses: it failed its check here"):
        operator(x, w)


def test_a_wrong_gradient_alone_still_serves_calls_without():
    operator = planted(FAULTS["gradient"][0])
    with record() as used, warnings.catch_warnings():
        warnings.simplefilter("error")
        operator(torch.randn(5, 4), torch.randn(4))
    assert used == {"planted:bad": 1}


def test_formats_are_judged_apart():
    coarse = planted(lambda x, w: ((x.bfloat16().sin() * w).to(x.dtype), x.sum()), right())
    with record() as used:
        with pytest.warns(RuntimeWarning, match="in float64"):
            coarse(torch.randn(5, 4).double(), torch.randn(4).double())
        coarse(torch.randn(5, 4).bfloat16(), torch.randn(4).bfloat16())
    assert used == {"planted:good": 1, "planted:bad": 1}


def counted():
    """An operator whose kernel counts its calls."""
    calls = []
    kernel = Kernel("k", lambda *_: None, lambda x, w: (calls.append(1), reference(x, w))[1])
    return Operator("counted", reference, kernel, sample=sample), calls


def test_it_is_checked_once_and_in_many_threads_once():
    operator, calls = counted()
    work = [threading.Thread(target=operator, args=(torch.ones(2, 4), torch.ones(4))) for _ in range(8)]
    [t.start() for t in work]
    [t.join() for t in work]
    operator(torch.ones(2, 4), torch.ones(4))
    assert len(calls) == 10  # nine calls and one check


def test_nothing_that_watches_the_call_sees_the_check():
    """Counts of operations, saved tensors, costs and random numbers are those of a checked kernel."""

    def seen():
        operator, _ = counted()
        results = []
        for _ in range(2):
            sizes, state = [], torch.get_rng_state()
            x = torch.ones(2, 4, requires_grad=True)
            with FlopCounterMode(display=False) as flops, record() as used, torch.device("cpu"):
                with torch.autograd.graph.saved_tensors_hooks(
                    lambda t, s=sizes: (s.append(t.shape), t)[1], lambda t: t
                ):
                    operator(x, torch.ones(4))
            cost = of_step(lambda x=x: operator(x, torch.ones(4)), x)
            assert torch.equal(state, torch.get_rng_state())
            results.append((flops.get_total_flops(), dict(used), sizes, cost))
        return results

    first, second = seen()
    assert first == second
    operator, _ = counted()
    assert of_step(lambda: operator(torch.ones(2, 4), torch.ones(4))) == of_step(
        lambda: operator(torch.ones(2, 4), torch.ones(4))
    )


@pytest.mark.parametrize("how", ["inference", "autocast", "no_grad"])
def test_it_checks_under_any_mode_of_the_caller(how):
    mode = {
        "inference": torch.inference_mode(),
        "autocast": torch.autocast("cpu", torch.bfloat16),
        "no_grad": torch.no_grad(),
    }[how]
    operator, calls = counted()
    with mode, warnings.catch_warnings():
        warnings.simplefilter("error")
        operator(torch.ones(2, 4, requires_grad=True), torch.ones(4))
    assert len(calls) == 2


def test_no_check_without_memory_in_transforms_or_while_compiling():
    operator, calls = counted()
    operator(torch.ones(2, 4, device="meta"), torch.ones(4, device="meta"))
    trace(lambda x: operator(x, torch.ones(4))[0], torch.ones(5000, 4))
    torch.func.vmap(lambda x: operator(x, torch.ones(4)))(torch.ones(3, 2, 4))
    torch.compile(operator, backend="eager")(torch.ones(2, 4), torch.ones(4))
    assert operator.found == {} and calls


def test_no_check_within_a_backward_pass():
    """A thread of its own would wait for the pass, which waits for it."""
    operator, _ = counted()

    def body(x):
        return operator(x, torch.ones(4))[0] if operator.found or torch._C._current_graph_task_id() != -1 else x.sin()

    x = torch.ones(2, 4, requires_grad=True)
    torch.utils.checkpoint.checkpoint(body, x, use_reentrant=True).sum().backward()
    assert operator.found == {}


def test_a_check_costs_little():
    seconds = []
    for operator, kernel in KERNELS:
        if kernel.lacks(CPU, torch.float32) is None:
            made = kernel.sample or operator.sample
            seconds += [compare(kernel.run, operator.reference, made, CPU, torch.float32, True).seconds]
    assert sorted(seconds)[len(seconds) // 2] < 0.1, seconds


def test_every_format_has_a_tolerance():
    torch.set_float32_matmul_precision("high")
    try:
        assert tolerance(torch.float32) == check.ROUNDED
    finally:
        torch.set_float32_matmul_precision("highest")
    assert {tolerance(d) for d in FORMATS} == {1e-9, 1e-4, 5e-2}


def test_compiled_code_reads_on_through_a_whole_operator_unless_it_is_watched():
    at = Layout.dense(1, 6)
    q = torch.randn(1, 2, 6, 4)

    def graphs():
        torch._dynamo.reset()
        seen = []
        run = torch.compile(
            lambda q: attend(q + 1, q, q, Same(), at, at, 0.5) * 2, backend=lambda g, _: seen.append(g) or g
        )
        torch.testing.assert_close(run(q), attend(q + 1, q, q, Same(), at, at, 0.5) * 2)
        return len(seen)

    assert graphs() == 1
    with record() as used:
        assert graphs() > 1
    assert used["attend:sdpa"] >= 2
