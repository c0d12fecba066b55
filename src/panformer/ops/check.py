"""A kernel is believed where it has given the reference's answer once: one small input a device, number format and pass.

The comparison runs in a thread of its own, so that nothing that watches the caller sees it: no autograd graph, hook,
dispatch mode, autocast, default device or record of backends of the call is active there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from contextvars import Context
from threading import Thread, local
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from ..core.layout import Layout

Sample = Callable[[torch.device, torch.dtype], tuple[Any, ...]]  # the arguments of one small call of an operator

TOLERANCE = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}  # of the largest value
ROUNDED = 1e-2  # float32 where torch was told that products may be rounded
LEAST = 0.1  # the largest value is taken for no less: samples are of size one

_here = local()


class Found(NamedTuple):
    """What a comparison found: the fault in words or None, the error against its tolerance, the seconds it took."""

    fault: str | None
    error: float
    seconds: float


def watched(args: tuple[Any, ...]) -> bool:
    """Whether this call cannot start a comparison: it is inside one, traced, transformed, captured or without memory."""
    if getattr(_here, "busy", False) or torch.compiler.is_compiling() or torch._C._current_graph_task_id() != -1:
        return True  # within a backward pass another thread's would wait for this one
    if torch._C._functorch.maybe_current_level() is not None or torch.jit.is_tracing():
        return True
    kinds = (Tensor, torch.nn.Parameter)
    for t in tree_leaves(args):
        if isinstance(t, Tensor) and (type(t) not in kinds or t.device.type == "meta"):
            return True
        if isinstance(t, Tensor) and t.is_cuda:
            return torch.cuda.is_current_stream_capturing()
    return False


def compare(
    run: Callable[..., Any], reference: Callable[..., Any], sample: Sample, device: torch.device, dtype: torch.dtype,
    grads: bool,
) -> Found:  # fmt: skip
    """`run` against the reference in float64 on the same numbers, and their gradients where `grads`."""
    found: list[Found] = []

    def work() -> None:
        _here.busy = True
        began = time.perf_counter()
        try:
            with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
                error = _error(run, reference, sample(device, dtype), grads)
            limit = tolerance(dtype)
            fault = None if error <= limit else f"its error {error:.1e} is over {limit:.0e} of the largest value"
        except Exception as raised:
            error, fault = math.inf, f"it raised {type(raised).__name__}: {str(raised).strip().partition(chr(10))[0]}"
        found.append(Found(fault, error, time.perf_counter() - began))

    thread = Thread(target=Context().run, args=(work,), name="kernel check")
    thread.start()
    thread.join()
    return found[0]


def tolerance(dtype: torch.dtype) -> float:
    if dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest":
        return ROUNDED
    return TOLERANCE[dtype]


def _error(run: Callable[..., Any], reference: Callable[..., Any], args: tuple[Any, ...], grads: bool) -> float:
    """The largest difference of any output or gradient, relative to the largest value of that tensor."""
    got, slopes = _answers(run, args, grads)
    want, right = _answers(reference, tree_map_only(Tensor, _wide, args), grads)
    if len(got) != len(want):
        return math.inf
    return max((_apart(a, b) for a, b in zip([*got, *slopes], [*want, *right], strict=True)), default=0.0)


def _answers(fn: Callable[..., Any], args: tuple[Any, ...], grads: bool) -> tuple[list[Tensor], list[Tensor]]:
    own = tree_map_only(Tensor, lambda t: t.detach().clone().requires_grad_(grads and t.is_floating_point()), args)
    leaves = [t for t in tree_leaves(own) if isinstance(t, Tensor) and t.is_floating_point()]
    with torch.set_grad_enabled(grads):
        outs = [t for t in tree_leaves(fn(*own)) if isinstance(t, Tensor) and t.is_floating_point()]
    if not grads:
        return outs, []
    pushes = [_push(t) for t in outs]
    slopes = torch.autograd.grad(outs, leaves, pushes, allow_unused=True)
    return [t.detach() for t in outs], [_or_zero(g, t) for g, t in zip(slopes, leaves, strict=True)]


def _push(out: Tensor) -> Tensor:
    """What is sent back through an output: the same numbers in every format."""
    count = torch.arange(out.numel(), device=out.device, dtype=torch.float32)
    return (count * 0.7).cos().bfloat16().to(out.dtype).view(out.shape)


def _or_zero(g: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if g is None else g


def _wide(t: Tensor) -> Tensor:
    if not t.is_floating_point():
        return t
    return t.to(torch.float32 if t.device.type == "mps" else torch.float64)


def _apart(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape:
        return math.inf
    if a.numel() == 0:
        return 0.0
    gap = float((a.to(b.dtype) - b).abs().max() / b.abs().max().clamp_min(LEAST))
    return math.inf if math.isnan(gap) else gap


# ---- making samples


class Draw:
    """Numbers that are the same on every machine, from a generator of their own: `draw(2, 3)` is normal, (2, 3)."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.rng = torch.Generator().manual_seed(0)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.rng, dtype=torch.float64, device="cpu").to(self.device, self.dtype)

    def flags(self, share: float, *shape: int) -> Tensor:
        """bool, True in about `share` of the places."""
        return (torch.rand(shape, generator=self.rng, device="cpu") < share).to(self.device)


def mixed(device: torch.device) -> Layout:
    """Two rows of 70 tokens: sequences of 30, 1 and 36 and then padding; padding and then one of 68."""
    lengths = torch.tensor([30, 1, 36, 3, 2, 68])
    seg = torch.repeat_interleave(torch.tensor([0, 1, 2, -1, -1, 0]), lengths).view(2, 70)
    pos = torch.cat([torch.arange(n) for n in lengths.tolist()]).view(2, 70, 1)
    return Layout(seg.to(device), torch.where(seg[..., None] < 0, 0, pos).to(device))


def format_of(args: tuple[Any, ...]) -> tuple[torch.device, torch.dtype] | None:
    """Device and number format of a call: those of its first floating tensor."""
    return next(((t.device, t.dtype) for t in _tensors(args) if t.is_floating_point()), None)


def asks_gradients(args: tuple[Any, ...]) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in _tensors(args))


def _tensors(tree: Any) -> Iterator[Tensor]:
    for x in tree:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, tuple | list):
            yield from _tensors(x)
