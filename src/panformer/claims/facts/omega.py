"""Facts about the Omega rule: what it reduces to, its fast form, and how many pairs a memory of one size holds."""

from __future__ import annotations

import math
from itertools import product
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.layout import Layout
from ...core.part import config
from ...ops import backend
from ...ops.delta_rule import delta_rule
from ...ops.newton_schulz import FIFTH, FIRST, THIRD, orthogonal
from ...ops.omega_rule import omega_rule
from .recurrences import Sides, _slopes

Inner = Literal["descent", "momentum", "muon"]


def delta(seed: int, window: int = 1, chunk: int = 1, length: int = 37) -> Sides:
    """The Omega rule and the delta rule: answers, last memory and gradients. They are one where window and chunk are 1."""
    inputs, at = _told(seed, length), Layout.dense(2, length)

    def ours(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        y, s = omega_rule(q, k, v, g, None, None, None, at, None, window, chunk, 0)
        return y, s.now

    return _slopes(ours, inputs), _slopes(lambda *z: delta_rule(*z, None, at, None), inputs)


def chunks(seed: int, inner: Inner = "descent", chunk: int = 8, other: int = 8, length: int = 50) -> Sides:
    """The Omega rule chunk by chunk and token by token, with gradients; `other` is the chunk of the second side."""
    inputs, at, steps = _told(seed, length, gates=3), Layout.dense(2, length), 5 if inner == "muon" else 0

    def run(size: int, name: str) -> list[Tensor]:
        def both(q: Tensor, k: Tensor, v: Tensor, *gates: Tensor) -> list[Tensor]:
            g, fall, push, rate = gates
            push_ = None if inner == "descent" else push.log()
            with backend.only(name, omega_rule):
                y, s = omega_rule(q, k, v, g / 8, fall.log(), push_, rate, at, None, 4, size, steps)
            return [y, *s[: 2 if inner == "descent" else 3], 0 * push]

        return _slopes(both, inputs)

    return run(chunk, "chunks"), run(other, "reference")


def series(seed: int, degree: int = 2, to: int = 2) -> tuple[Tensor, Tensor]:
    """Inner products of polynomial features, and the exponential's series up to the degree `to`."""
    rng = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(2, 2, 9, 5, generator=rng, dtype=torch.float64) for _ in range(2))
    one, other = config("features", {"use": "polynomial", "degree": degree}).build(2, 5).double()(q, k)
    return one @ other.mT, sum((q @ k.mT) ** i / math.factorial(i) for i in range(to + 1))  # type: ignore[return-value]


def newton_schulz(seed: int, steps: int = 5, to: int = 5) -> tuple[Tensor, Tensor]:
    """The iteration by products of matrices, and on the singular values alone in `to` steps."""
    z = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    u, s, v = torch.linalg.svd(z, full_matrices=False)
    s = s / s.norm(dim=-1, keepdim=True)
    for _ in range(to):
        s = FIRST * s + THIRD * s**3 + FIFTH * s**5
    return orthogonal(z, steps, eps=0.0), u @ s.diag_embed() @ v


def recalled(
    seed: int, window: int = 8, degree: int | None = None, inner: Inner = "descent", pairs: int = 12, size: int = 8,
    rows: int = 64,
) -> float:  # fmt: skip
    """Share of key-value pairs that a memory, after it has read them once, answers with the right value of all.

    Keys are random directions in `size` dimensions, values random signs in as many. The step, and with momentum how long
    that lasts, is the best of a fixed grid, for every rule alike. Nothing is trained.
    """
    rng = torch.Generator().manual_seed(seed)
    k = F.normalize(torch.randn(rows, 1, pairs, size, generator=rng, dtype=torch.float64), dim=-1)
    v = torch.randn(rows, 1, pairs, size, generator=rng, dtype=torch.float64).sign()
    at, ones = Layout.dense(rows, pairs), torch.ones(rows, 1, pairs, dtype=torch.float64)
    phi = k
    if degree is not None:
        phi = config("features", {"use": "polynomial", "degree": degree}).build(1, size).double()(k, k)[0].detach()
        phi = F.normalize(phi, dim=-1)
    steps, lasts = 5 if inner == "muon" else 0, (0.0,) if inner == "descent" else (0.3, 0.6, 0.8, 0.9)
    best = 0.0
    for step, last in product((2.0 ** (n / 2) for n in range(-12, 5)), lasts):
        push = None if inner == "descent" else math.log(last) * ones
        _, s = omega_rule(phi, phi, v, ones, None, push, step * ones, at, None, window, 1, steps)
        found = (phi @ s.now @ v.mT).argmax(-1)
        best = max(best, float((found == torch.arange(pairs)).double().mean()))
    return best


def _told(seed: int, length: int, gates: int = 0) -> list[Tensor]:
    """q, k of length 1, v (2, 2, length, 6), weights and further gates (2, 2, length) between 0 and 1."""
    rng = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(2, 2, length, 6, generator=rng, dtype=torch.float64) for _ in range(3))
    drawn = [torch.rand(2, 2, length, generator=rng, dtype=torch.float64) for _ in range(1 + gates)]
    return [q, F.normalize(k, dim=-1), v, *drawn]
