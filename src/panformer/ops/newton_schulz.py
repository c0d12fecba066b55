"""A matrix whose singular values are brought near 1, by products alone.

With Z = U diag(s) V' the answer is U diag(p(...p(s / |Z|))) V', p(x) = 3.4445 x - 4.7750 x^3 + 2.0315 x^5: after five
steps all but the smallest values lie between 0.7 and 1.2. Jordan et al. 2024, Muon: an optimizer for hidden layers in
neural networks.
"""

from __future__ import annotations

import torch
from torch import Tensor

FIRST, THIRD, FIFTH = 3.4445, -4.7750, 2.0315  # the slope at 0 is steep, so that small values rise fast


def orthogonal(z: Tensor, steps: int, eps: float = 1e-7) -> Tensor:
    """(..., E, V) -> (..., E, V); a matrix shorter than `eps` stays a short one."""
    x = z * torch.rsqrt(z.square().sum((-2, -1), keepdim=True) + eps**2)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(steps):
        a = x @ x.mT
        x = FIRST * x + (THIRD * a + FIFTH * a @ a) @ x
    return x.mT if tall else x
