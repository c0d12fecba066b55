"""Linear attention to both sides, weights falling with the decays that lie between: as one matrix, or as two scans.

`two_sided`        y_i = sum_j L_ij (q_i . k_j) v_j with L_ij = e^(fall_{j+1} + .. + fall_i) for j <= i and
                   e^(fall_i + .. + fall_{j-1}) for j > i, so that S_i = e^(fall_i) S_{i-1} + k_i v_i' from either end,
                   the diagonal counted once. Afzal et al. 2025, LION.
`quasiseparable`   y_i = sum over j < i of one such form and over j > i of another, each answered one token later, and nothing
                   for i itself: a quasiseparable matrix without its diagonal. Hwang et al. 2024, Hydra.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.layout import Layout
from .backend import Operator
from .check import Draw, mixed
from .kernels.two_sided_scans import QUASISEPARABLE, TWO_SIDED


def reference(q: Tensor, k: Tensor, v: Tensor, fall: Tensor | None, at: Layout) -> Tensor:
    """q, k (B, H|1, T, E), v (B, H, T, V), fall (B, H, T) <= 0 or None (0) -> y (B, H, T, V), by the T x T matrix."""
    same = _same(at)
    weight = (q @ k.mT).masked_fill(~same, 0)
    if fall is None:
        return weight @ v
    forth = _fallen(fall, at)
    back = forth - fall.double()  # the sum before each token
    apart = torch.where(same.tril(), _apart(forth, forth), _apart(-back, -back))
    return (weight * apart.masked_fill(~same, -torch.inf).exp().to(weight.dtype)) @ v


def reference_apart(
    q: tuple[Tensor, Tensor],
    k: tuple[Tensor, Tensor],
    v: tuple[Tensor, Tensor],
    fall: tuple[Tensor, Tensor],
    at: Layout,
) -> Tensor:
    """Pairs for what comes from before and from after: q, k (B, H|1, T, E), v (B, H, T, V), fall (B, H, T) <= 0.

    y_i = sum_{j<i} e^(fall_{j+1} + .. + fall_{i-1}) (q_{i-1} . k_j) v_j + the same from the other end with the other
    q, k, v and fall -> y (B, H, T, V), by two T x T matrices.
    """
    same, out = _same(at), torch.zeros_like(v[0])
    for side in (0, 1):
        falls = fall[side].double()
        forth = _fallen(fall[side], at)
        if side == 0:
            keep, apart, query = same.tril(-1), _apart(forth - falls, forth), q[0].roll(1, 2)  # as of token i - 1
        else:
            keep, apart, query = same.triu(1), _apart(-forth, falls - forth), q[1].roll(-1, 2)
        weight = (query @ k[side].mT).masked_fill(~keep, 0)
        out = out + (weight * apart.masked_fill(~keep, -torch.inf).exp().to(weight.dtype)) @ v[side]
    return out


def _same(at: Layout) -> Tensor:
    """(B, 1, T, T): two tokens of one sequence."""
    return (at.ordinal[:, None, :, None] == at.ordinal[:, None, None, :]) & at.valid[:, None, :, None]


def _fallen(fall: Tensor, at: Layout) -> Tensor:
    """Sums of the log-decays from the start of each row, in float64."""
    return at.clean(fall.mT).mT.double().cumsum(2)


def _apart(up: Tensor, down: Tensor) -> Tensor:
    return up[..., :, None] - down[..., None, :]


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), mixed(device)
    q, k, v = (draw(2, 2, at.length, n) for n in (3, 3, 4))
    return q, k, v, -draw(2, 2, at.length).exp() / 4, at


def sample_apart(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), mixed(device)
    q, k, v = ((draw(2, 2, at.length, n), draw(2, 2, at.length, n)) for n in (3, 3, 4))
    return q, k, v, (-draw(2, 2, at.length).exp() / 4, -draw(2, 2, at.length).exp() / 4), at


two_sided = Operator("two_sided", reference, TWO_SIDED, sample=sample)
quasiseparable = Operator("quasiseparable", reference_apart, QUASISEPARABLE, sample=sample_apart)
