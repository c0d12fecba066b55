"""How a law is written down and judged. The tolerances stand here once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from panformer.core.part import Part

from .families import subject
from .subject import Subject

RTOL = 1e-9  # float64, of the largest value
GRADCHECK = 1e-6
LENGTHS = (5, 9, 1, 8)
LONG = 23  # tokens, more than four windows of the example options
Options = dict[str, Any]
Law = Callable[[type[Part], Options], None]
LAWS: dict[str, tuple[Law, Callable[[Subject, Any], bool]]] = {}


def law(when: Callable[[Subject, Any], bool] = lambda s, m: True) -> Callable[[Law], Law]:
    """Registers a law for the parts it speaks of. Any failure becomes one line: part, options, law, fault."""

    def register(check: Law) -> Law:
        name = check.__name__

        @wraps(check)
        def told(part: type[Part], options: Options) -> None:
            try:
                check(part, options)
            except AssertionError as fault:
                raise AssertionError(f"{subject(part, options).name}: {name}: {fault}") from None
            except Exception as fault:
                line = f"{type(fault).__name__}: {' '.join(str(fault).split())[:200]}"
                raise AssertionError(f"{subject(part, options).name}: {name}: {line}") from fault

        LAWS[name] = (told, when)
        return told

    return register


def runs(s: Subject, m: Any) -> bool:
    return s.part.family != "objectives"


def joins(s: Subject, m: Any) -> bool:
    return "packed" in s.forms


def streams(s: Subject, m: Any) -> bool:
    return (s.part.family == "mixers" and m.causal and m.streams) or (s.part.family == "norms" and m.streams)


def must(holds: bool, told: str) -> None:
    if not holds:
        raise AssertionError(told)


def same(want: Tensor, got: Tensor, what: str) -> None:
    must(want.shape == got.shape, f"{what} have shapes {tuple(want.shape)} and {tuple(got.shape)}")
    if want.numel() == 0:
        return
    if not want.is_floating_point():
        must(torch.equal(want, got), f"{what} differ")
        return
    scale = want.detach().abs().max().item()
    apart = (want - got).detach().abs().max().item()
    must(math.isfinite(scale), f"{what}: the first is not finite")
    must(math.isfinite(apart), f"{what}: the second is not finite")
    must(apart <= RTOL * scale + 1e-12, f"{what} differ by {apart:.1e} at scale {scale:.1e}")


def alike(want: Sequence[Tensor], got: Sequence[Tensor], what: str) -> None:
    must(len(want) == len(got), f"{what}: {len(want)} and {len(got)} results")
    for a, b in zip(want, got):
        same(a, b, what)


def opened(xs: list[Tensor]) -> list[Tensor]:
    """The same, with gradients into all that can have one."""
    return [x.requires_grad_(x.is_floating_point()) for x in xs]


def weighted(ys: Sequence[Tensor]) -> Tensor:
    """A scalar in which every output counts differently."""
    total = torch.zeros((), dtype=torch.float64)
    for y in ys:
        if y.is_floating_point():
            weight = torch.arange(1, y.numel() + 1, dtype=torch.float64).mul(0.7).cos().view(y.shape)
            total = total + (weight * y).sum()
    return total


def grads(y: Tensor, xs: Sequence[Tensor]) -> list[Tensor]:
    if not xs or not y.requires_grad:
        return [torch.zeros_like(x) for x in xs]
    found = torch.autograd.grad(y, xs, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(xs, found)]


def rms(want: Sequence[Tensor], got: Sequence[Tensor]) -> float:
    real = [(a, b) for a, b in zip(want, got) if a.is_floating_point()]
    return math.sqrt(sum((a.double() - b.double()).square().sum().item() for a, b in real))


def right_slope(fn: Callable[..., Any], inputs: Sequence[Tensor]) -> None:
    """The gradients of fn into its inputs are those that small steps show."""
    try:
        torch.autograd.gradcheck(fn, tuple(inputs), atol=GRADCHECK, rtol=GRADCHECK, fast_mode=True)
    except RuntimeError as fault:
        raise AssertionError(" ".join(str(fault).split())[:160]) from None
