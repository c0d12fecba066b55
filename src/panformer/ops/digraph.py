"""y = U' diag(exp(i f)) U v for a unitary U that is made of rotations of neighbours: a convolution on a directed graph.

U = H_l H_u P: P reorders the places, H_u = G_0 G_1 ... G_{L-2} is an upper and H_l = G_{L-2} ... G_1 G_0 a lower
Hessenberg matrix, G_k a unitary rotation of the places k and k + 1; ' is the conjugate transpose. A rotation by (a, b, c)
is [[e^(-i A) cos C, -e^(i B) sin C], [e^(-i B) sin C, e^(i A) cos C]] with A = pi (a + b), B = pi (a - b), C = pi c.
Zhang et al. 2025, Converting Transformers into DGNNs form. Their diagonal of phases before H_l commutes with that of
the eigenvalues, so it would change nothing and is not here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .backend import Operator
from .check import Draw
from .kernels.digraph_scans import SCANS, order, phase, rotations

Pair = tuple[Tensor, Tensor]


def reference(re: Tensor, im: Tensor, turns: Tensor, f: Tensor, real: Tensor, stride: int) -> Pair:
    """v = re + i im (N, L, D), turns (N, L, 6), f (N, L), real (N, L) bool, the first places of each row -> y likewise.

    Place k gives a, b, c of G_k in H_l with its first three numbers, place k + 1 those of G_k in H_u with its others. P
    puts the places 0, s, 2 s ... first, then 1, s + 1 ..., s = `stride`. By the dense matrix.
    """
    u = matrix(turns, real, stride)
    v = torch.complex(re.to(u.real.dtype), im.to(u.real.dtype))
    y = u.mH @ (phase(f.to(u.real.dtype))[..., None] * (u @ v))
    return y.real.to(re.dtype), y.imag.to(re.dtype)


def matrix(turns: Tensor, real: Tensor, stride: int) -> Tensor:
    """U (N, L, L), complex; the unit matrix where nothing is real."""
    wide = turns.to(torch.promote_types(turns.dtype, torch.float32))
    lower, upper = rotations(wide, real)
    start = torch.eye(turns.shape[1], dtype=wide.dtype, device=turns.device)[order(real, stride)]
    rows = list(torch.complex(start, torch.zeros_like(start)).unbind(1))
    last = len(rows) - 2
    for by, steps in ((upper, range(last, -1, -1)), (lower, range(last + 1))):
        for k in steps:
            ii, ij, ji, jj = (g[:, k, None] for g in by)
            rows[k], rows[k + 1] = ii * rows[k] + ij * rows[k + 1], ji * rows[k] + jj * rows[k + 1]
    return torch.stack(rows, 1)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw = Draw(device, dtype)
    real = torch.arange(9, device=device) < torch.tensor([9, 1, 6], device=device)[:, None]
    return draw(3, 9, 4), draw(3, 9, 4), draw(3, 9, 6) / 4, draw(3, 9), real, 2


digraph = Operator("digraph", reference, SCANS, sample=sample)
