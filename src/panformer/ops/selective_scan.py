"""h_t = exp(delta_t A) h_{t-1} + delta_t B_t x_t, y_t = C_t h_t: a diagonal state space whose rates follow the input.

Gu & Dao 2023, Mamba. With delta, B and C that do not depend on time it is the linear time-invariant
system of Gu et al. 2022, S4D. A token with delta = 0 leaves the state as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .backend import Operator
from .check import Draw
from .kernels.selective_scan_blocks import BLOCKS
from .kernels.selective_scan_numba import NUMBA
from .kernels.selective_scan_tree import TREE
from .kernels.selective_scan_triton import TRITON
from .scan import loop


def reference(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, reset: Tensor | None, h: Tensor | None
) -> tuple[Tensor, Tensor]:
    """x, delta (B, T, E), a (E, N) < 0, b and c (B, T, N), or (E, N) where fixed -> y (B, T, E), last h (B, E, N).

    reset (B, T) bool: True drops the state before that token. h: the state to start from, default 0.
    Numbers narrower than float32 are summed in float32; y comes back in the type of x.
    """
    kind, wide = x.dtype, torch.promote_types(x.dtype, torch.float32)
    x, delta, a, b, c = (z.to(wide) for z in (x, delta, a, b, c))
    h = x.new_zeros(x.shape[0], *a.shape) if h is None else h.to(wide)
    ys = []
    for t in range(x.shape[1]):
        gain = torch.exp(delta[:, t, :, None] * a)  # (B, E, N)
        if reset is not None:
            gain = gain.masked_fill(reset[:, t, None, None], 0)
        h = gain * h + (delta[:, t] * x[:, t])[..., None] * _now(b, t)
        ys.append((h * _now(c, t)).sum(-1))
    return torch.stack(ys, 1).to(kind), h


def traced(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, reset: Tensor | None, h: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`reference` with its loop over time as one operation of the graph, for any number of tokens."""
    kind, wide = x.dtype, torch.promote_types(x.dtype, torch.float32)
    x, delta, a, b, c = (z.to(wide) for z in (x, delta, a, b, c))
    gain = torch.exp(delta[..., None] * a)  # (B, T, E, N)
    if reset is not None:
        gain = gain.masked_fill(reset[..., None, None], 0)
    new = (delta * x)[..., None] * _all(b)
    h = x.new_zeros(x.shape[0], *a.shape) if h is None else h.to(wide)

    def advance(h: Tensor, now: tuple[Tensor, Tensor]) -> Tensor:
        return now[0] * h + now[1]

    h, states = loop(advance, h, (gain, new))
    return (states * _all(c)).sum(-1).to(kind), h


def _all(w: Tensor) -> Tensor:
    """(B, T, 1, N), or (E, N) where it is fixed."""
    return w if w.dim() == 2 else w[:, :, None]


def _now(w: Tensor, t: int) -> Tensor:
    """(B, 1, N), or (E, N) where it is fixed."""
    return w if w.dim() == 2 else w[:, t, None]


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw = Draw(device, dtype)
    x, b, c, h = draw(2, 37, 6), draw(2, 37, 4), draw(2, 37, 4), draw(2, 6, 4)
    return x, draw(2, 37, 6).exp() / 4, -draw(6, 4).exp(), b, c, draw.flags(0.1, 2, 37), h


selective_scan = Operator("selective_scan", reference, TRITON, NUMBA, BLOCKS, TREE, traced=traced, sample=sample)
