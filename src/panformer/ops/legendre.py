"""A signal's last `window` units of time as coefficients of Legendre polynomials, kept by m' = A m + B u.

Voelker et al. 2019, Legendre memory units, equations 2 and 3. The matrices are fixed, nothing in them is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor


def legendre(order: int, window: float) -> tuple[Tensor, Tensor]:
    """(A (order, order), B (order,)) in float64: A_ij = (2i + 1) / window * (-1 if i < j else (-1)^(i - j + 1)) and
    B_i = (2i + 1) / window * (-1)^i."""
    place = torch.arange(order, dtype=torch.float64, device="cpu")
    rate = (2 * place + 1) / window
    sign = 1 - 2 * (place % 2)  # (-1)^i
    below = -sign[:, None] * sign
    ahead = place[:, None] < place
    return rate[:, None] * torch.where(ahead, -1.0, below), rate * sign


def held(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(exp(A), the integral of exp(A s) B over s from 0 to 1): m_t = A m_{t-1} + B u_t for an input that is constant
    over each unit of time (zero-order hold). Both stand in the exponential of [[A, B], [0, 0]]; Van Loan 1978."""
    n = len(a)
    both = torch.zeros(n + 1, n + 1, dtype=a.dtype, device=a.device)
    both[:n, :n], both[:n, n] = a, b
    both = torch.matrix_exp(both)
    return both[:n, :n].contiguous(), both[:n, n].contiguous()


def recall(order: int, back: Tensor) -> Tensor:
    """(order, ...) weights that read the signal `back` of the window ago, 0 to 1: the polynomials moved to [0, 1]."""
    x = 2 * back - 1
    found = [torch.ones_like(x), x]
    for n in range(1, order):
        found.append(((2 * n + 1) * x * found[n] - n * found[n - 1]) / (n + 1))
    return torch.stack(found[:order])
