"""Gradients, half precision, compiled code, kernels and cost."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from panformer.core.layout import Layout
from panformer.core.part import Part
from panformer.measure import cost
from panformer.ops import backend
from panformer.ops.kernels import (
    attend_blocks,
    attend_rows,
    attend_strips,
    block_attention_strips,
    group_attention_sorted,
    linear_system_fft,
    long_conv_fft,
    selective_scan_numba,
    toeplitz_linear_fft,
)

from .families import subject
from .judge import LONG, Options, alike, grads, law, must, opened, right_slope, rms, runs, streams, weighted
from .subject import Subject

ROUNDING = 2.0  # a kernel's bfloat16 error may be this many times that of its reference
GROWTH = {  # exponents that pass for each
    "n": (0.0, 1.03),
    "n log n": (1.01, 1.3),
    "n^(4/3)": (1.01, 1.36),
    "n^1.5": (1.1, 1.6),
    "n^2": (1.8, 2.05),
}
STREAMED = (512, 16)  # tokens read at once, and then one by one
FOURFOLD = (256, 1024, 4096)  # lengths where a side of about sqrt(n), in powers of two, is sqrt(n)


@law(runs)
def gradients(part: type[Part], options: Options) -> None:
    """Gradients are those of the function, for inputs and parameters, dense and packed."""
    s = subject(part, options)
    m = s.build()
    learned = [p for p in m.parameters() if p.requires_grad]  # gradcheck moves them in place
    for form, lengths in (("rows", (s.length,)), ("packed", (3, 1, 4))):
        if form != "rows" and form not in s.forms:
            continue
        xs = opened(s.sequences(lengths))

        def fn(*tensors: Tensor, n: int = len(xs), form: str = form) -> tuple[Tensor, ...]:
            return tuple(y for y in s.run(m, tensors[:n], form) if y.is_floating_point())

        right_slope(fn, [*xs, *learned])


@law(runs)
def bf16(part: type[Part], options: Options) -> None:
    """In bfloat16 the result is finite, of that type, and errs no more than twice what the reference errs."""
    s = subject(part, options)
    half = s.build().to(torch.bfloat16)
    form, lengths = ("packed", (LONG, 7)) if "packed" in s.forms else ("rows", (s.length,) * 2)
    xs = [x.to(torch.bfloat16) if x.is_floating_point() else x for x in s.sequences(lengths)]
    wide = s.build()
    wide.load_state_dict({k: v.to(wide.state_dict()[k].dtype) for k, v in half.state_dict().items()})
    with torch.no_grad():
        exact = s.run(wide, [x.double() if x.is_floating_point() else x for x in xs], form)
        fast = s.run(half, xs, form)
        with backend.only("reference"):
            slow = s.run(half, xs, form)
    for y in fast:
        must(y.dtype in (torch.bfloat16, torch.int64, torch.bool), f"answers {y.dtype} to torch.bfloat16")
        must(bool(y.isfinite().all()), "is not finite")
    own, allowed = rms(exact, fast), ROUNDING * rms(exact, slow)
    must(own <= allowed + 1e-12, f"errs {own:.1e}, over {ROUNDING} times the reference's {allowed / ROUNDING:.1e}")


@law(streams)
def endures(part: type[Part], options: Options) -> None:
    """A long stream in bfloat16, at last token by token, errs no more than twice what the whole errs.

    A sum that is kept in half precision loses what is added to it as soon as it is some hundred times as large.
    """
    s = subject(part, options)
    half, (past, new) = s.build().to(torch.bfloat16), STREAMED
    wide = s.build()
    wide.load_state_dict({k: v.to(wide.state_dict()[k].dtype) for k, v in half.state_dict().items()})
    x = s.sequences([past + new])[0]
    x[:past] += 0.5  # what sums up does not cancel, and what comes then is unlike it
    x[past:] -= 0.5
    x = x.to(torch.bfloat16)[None]
    at, shared = Layout.dense(1, past + new), s.shared("rows", [past + new], torch.bfloat16)
    with torch.no_grad():
        exact = s.call(wide, x.double(), at, s.shared("rows", [past + new]))[:, past:]
        whole = s.call(half, x, at, shared)[:, past:]
        _, held = s.chunk(half, x[:, :past], at.span(0, past), half.start(1, x), shared)
        outs = []
        for t in range(past, past + new):
            y, held = s.step(half, x[:, t : t + 1], at.span(t, t + 1), held, shared)
            outs.append(y)
    own, allowed = rms([exact], [torch.cat(outs, 1)]), ROUNDING * rms([exact], [whole])
    must(own <= allowed + 1e-12, f"errs {own:.1e}, over {ROUNDING} times the whole's {allowed / ROUNDING:.1e}")


@law(runs)
def compiles(part: type[Part], options: Options) -> None:
    """torch.compile gives what eager gives, outputs and gradients.

    The backend stops where torch's own work begins: it traces, functionalises and makes the joint graph, where parts
    can go wrong, but does not search for the best cut of that graph (an eighth of the time) and generates no code
    (ten times the time, and a C++ compiler). Full batches only: ragged ones break the graph wherever shapes depend on
    values, which takes minutes to trace for all parts.
    """
    s = subject(part, options)
    m = s.build()
    xs = opened(s.sequences((12, 12)))
    leaves = [x for x in xs if x.requires_grad] + [p for p in m.parameters() if p.requires_grad]
    eager = s.run(m, xs, "rows")
    torch._dynamo.reset()
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as untimed:
        warnings.simplefilter("ignore", UserWarning)  # of what breaks the graph
        # torch times the guards of every graph, for its log alone, after flushing the processor's caches
        untimed.setattr("torch._dynamo.guards.profile_guard_manager", lambda *_: 0.0, raising=False)
        s.call = torch.compile(s.call, backend="aot_eager_default_partitioner", dynamic=False)
        fast = s.run(m, xs, "rows")
    alike(eager, fast, "compiled and eager")
    alike(grads(weighted(eager), leaves), grads(weighted(fast), leaves), "gradients compiled and eager")


@law(runs)
def kernels(part: type[Part], options: Options) -> None:
    """Every kernel that takes a call of this part equals the reference there, outputs and gradients."""
    s = subject(part, options)
    for operator, name, args in kernel_calls(s):
        run = next(k.run for k in operator.kernels if k.name == name)
        _compare(f"{operator.name}:{name}", operator.reference, run, args)


def kernel_calls(s: Subject, seed: int = 11) -> Iterator[tuple[backend.Operator, str, tuple[Any, ...]]]:
    """(operator, kernel that takes it, arguments) of every call the part makes on random shapes.

    Kernels that leave short inputs to others take them here.
    """
    m = s.build(seed)
    rng = torch.Generator().manual_seed(seed)
    forms = [("rows", [s.length] * 2)]
    forms += [(form, torch.randint(1, s.longest, (3,), generator=rng).tolist()) for form in s.forms]
    with backend.listen() as calls:
        for form, lengths in forms:
            s.run(m, s.sequences(lengths, seed), form)
        if getattr(m, "causal", False) and getattr(m, "streams", False):
            x, at = torch.stack(s.sequences([LONG] * 2)), Layout.dense(2, LONG)
            shared, held = s.shared("rows", [LONG] * 2), m.start(2, x)
            for a, b in ((0, 9), (9, 10), (10, LONG)):
                _, held = m.chunk(x[:, a:b], at.span(a, b), held, shared)
    with pytest.MonkeyPatch.context() as small:
        for name, value in {"SIZE": 8, "LEAST": 0, "MASKED": 0}.items():
            small.setattr(attend_blocks, name, value)
        small.setattr(attend_rows, "LEAST", 0)
        small.setattr(attend_strips, "STRIP", 2)
        small.setattr(block_attention_strips, "LEAST", 0)
        small.setattr(block_attention_strips, "ROOM", 8)
        for name, value in {"LEAST": 0, "STRIP": 4, "TILE": 2, "KINDS": 2}.items():
            small.setattr(group_attention_sorted, name, value)
        small.setattr(toeplitz_linear_fft, "LEAST", 0)
        small.setattr(toeplitz_linear_fft, "WIDE", 0)
        small.setattr(long_conv_fft, "LEAST", 0)
        small.setattr(linear_system_fft, "LEAST", 0)
        small.setattr(selective_scan_numba, "LEAST", 0)
        for operator, args in calls:
            for kernel in operator.kernels:
                if kernel.refuses(*args) is None:
                    yield operator, kernel.name, args


def _compare(name: str, reference: Callable[..., Any], run: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Both on the same arguments, with gradients into every floating tensor among them."""
    results = []
    for fn in (reference, run):
        own = tree_map_only(Tensor, lambda t: t.detach().clone().requires_grad_(t.is_floating_point()), args)
        leaves = [t for t in tree_leaves(own) if isinstance(t, Tensor) and t.requires_grad]
        out = [t for t in tree_leaves(fn(*own)) if isinstance(t, Tensor)]
        results.append((out, grads(weighted(out), leaves)))
    (want, slopes), (got, slopes_got) = results
    alike(want, got, f"kernel {name} and its reference")
    alike(slopes, slopes_got, f"gradients of kernel {name} and its reference")


@law(lambda s, m: s.part.family in ("mixers", "channels", "norms", "residuals", "patterns"))
def grows(part: type[Part], options: Options) -> None:
    """FLOPs and bytes grow with length as declared: neither faster, nor slower than boasted of."""
    s = subject(part, options)
    m = s.new()
    declared = getattr(m, "growth", "n")
    low, high = GROWTH[declared]
    sizes = FOURFOLD if declared == "n^1.5" else s.sizes
    counted = {n: cost.trace(*s.costed(m, n)) for n in sizes}
    worst = -math.inf
    for what in ("flops", "bytes"):
        found = cost.growth({n: getattr(c, what) for n, c in counted.items()})
        must(found <= high, f"declared {declared}, but {what} grow with exponent {found:.3f}")
        worst = max(worst, found)
    must(worst >= low, f"declared {declared}, but neither flops nor bytes grow faster than exponent {worst:.3f}")
