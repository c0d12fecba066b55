"""Facts about convolutions on directed graphs whose eigenvectors are made of rotations, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from ...ops.digraph import matrix, reference
from ...ops.kernels.digraph_scans import run

Pair = tuple[Tensor, Tensor]


def unitary(seed: int, stride: int = 1, whole: bool = True, length: int = 33) -> Pair:
    """U' U and the unit matrix, for random rotations.

    `whole: false` leaves of U its three middle diagonals, as if every rotation met its neighbours' input and not what
    they make of it; that must not be equal.
    """
    _, turns, _, real = _random(seed, length)
    u = matrix(turns, real, stride)
    u = u if whole else u.tril(1).triu(-1)
    return u.mH @ u, torch.eye(length, dtype=u.dtype).expand_as(u)


def scans(seed: int, stride: int = 1, other: int | None = None, length: int = 33) -> Pair:
    """The convolution by scans and by the dense matrix; `other` is the latter's stride, which then must not be equal."""
    values, turns, f, real = _random(seed, length)
    fast = run(*values, turns, f, real, stride)
    slow = reference(*values, turns, f, real, stride if other is None else other)
    return torch.complex(*fast), torch.complex(*slow)


def spectrum(seed: int, made: bool = True, length: int = 33) -> Pair:
    """The eigenvalues of the convolution's matrix, found by torch, and exp(i f), both in order of their angle.

    `made: false` compares with f that the matrix was not made with, which must not be equal.
    """
    _, turns, f, real = _random(seed, length)
    eye = torch.eye(length, dtype=torch.float64).expand(2, -1, -1)
    s = torch.complex(*run(eye, torch.zeros_like(eye), turns, f, real, 1))
    if not made:
        f = f + 0.1
    return torch.linalg.eigvals(s).angle().sort(-1).values, f.sort(-1).values


def _random(seed: int, length: int) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor, Tensor]:
    """(real and imaginary values, rotations, phases in (-1, 1), which places are real)."""
    rng = torch.Generator().manual_seed(seed)
    re, im = torch.randn(2, 2, length, 5, generator=rng, dtype=torch.float64)
    turns = torch.randn(2, length, 6, generator=rng, dtype=torch.float64)
    f = 2 * torch.rand(2, length, generator=rng, dtype=torch.float64) - 1
    return (re, im), turns, f, torch.ones(2, length, dtype=torch.bool)
