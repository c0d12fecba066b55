"""h_t = q h_{t-1} + x_t, y_t = Re(sum_n c_n h_tn): averages of the past that fade, and turn, at fixed rates.

Every channel has N complex numbers q_n = exp(fall_n + i turn_n) and c_n. Ma et al. 2024, Megalodon (complex exponential
moving average); where nothing turns it is the multi-dimensional damped average of Ma et al. 2022, Mega.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.layout import Layout
from .backend import Operator
from .check import Draw, mixed
from .kernels.cema_blocks import BLOCKS
from .scan import loop


def reference(
    x: Tensor, fall: Tensor, turn: Tensor, weight: Tensor, at: Layout, h: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """x (B, T, D), fall (D, N) < 0, turn (D, N) in radians, weight = c (D, N, 2) -> y (B, T, D), last h (B, D, N, 2).

    Complex numbers are pairs. With h, the state so far, each row is the next tokens of one sequence; without it every
    sequence starts from nothing, and no state comes back. Padding, anywhere, leaves the state as it is and answers 0.
    Numbers narrower than float32 are summed in float32; y comes back in the type of x.
    """
    return _by_token(x, fall, turn, weight, at, h, False)


def traced(
    x: Tensor, fall: Tensor, turn: Tensor, weight: Tensor, at: Layout, h: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """`reference` with its loop over time as one operation of the graph, for any number of tokens."""
    return _by_token(x, fall, turn, weight, at, h, True)


def _by_token(
    x: Tensor, fall: Tensor, turn: Tensor, weight: Tensor, at: Layout, h: Tensor | None, graph: bool
) -> tuple[Tensor, Tensor | None]:
    kind, wide = x.dtype, torch.promote_types(x.dtype, torch.float32)
    x, fall, turn, weight = (z.to(wide) for z in (at.clean(x), fall, turn, weight))
    real, imaginary = fall.exp() * turn.cos(), fall.exp() * turn.sin()
    live = at.valid.expand(x.shape[:2])[..., None, None]
    keep = live if h is not None else live & ~at.starts.expand(x.shape[:2])[..., None, None]

    def advance(s: tuple[Tensor, ...], now: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
        (a, b), (x, live, keep) = s, now
        new = (
            torch.where(keep, real * a - imaginary * b, 0) + x[..., None],
            torch.where(keep, real * b + imaginary * a, 0),
        )
        return torch.where(live, new[0], a), torch.where(live, new[1], b)

    empty = x.new_zeros(x.shape[0], *fall.shape)  # len() would fix the batch of an exported graph
    s: tuple[Tensor, ...] = (empty, empty) if h is None else tuple(z.contiguous() for z in h.to(wide).unbind(-1))
    if graph:
        s, states = loop(advance, s, (x, live, keep))
    else:
        path = []
        for t in range(x.shape[1]):
            s = advance(s, (x[:, t], live[:, t], keep[:, t]))
            path.append(s)
        states = tuple(torch.stack(z, 1) for z in zip(*path, strict=True))
    y = (states[0] * weight[..., 0] - states[1] * weight[..., 1]).sum(-1)
    return at.clean(y).to(kind), None if h is None else torch.stack(s, -1)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), mixed(device)
    return draw(2, at.length, 3), -draw(3, 4).exp() / 4, draw(3, 4), draw(3, 4, 2), at, None


cema = Operator("cema", reference, BLOCKS, traced=traced, sample=sample)
