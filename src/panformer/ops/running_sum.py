"""y_i = sum of x_j over all j from the last place at or before i where a run begins, up to i.

A running sum that starts afresh wherever a flag says so, or goes on from an amount that is brought. Blelloch 1990, Prefix
sums and their applications.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .backend import Operator
from .check import Draw
from .kernels.running_sum_tree import TREE


def reference(x: Tensor, fresh: Tensor, start: Tensor | None) -> Tensor:
    """x (B, T, D), fresh (B, T) bool: a run begins here; start (B, D): the sum so far, None: 0 -> (B, T, D).

    By the T x T matrix of what belongs to the same run and is not later. Computed in float32 or wider.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    run = fresh.to(torch.int64).cumsum(1)  # (B, T), 0 for what goes on from the start
    same = ((run[:, :, None] == run[:, None]).to(wide)).tril()
    y = same @ x.to(wide)
    if start is not None:
        y = y + (run == 0)[..., None] * start.to(wide)[:, None]
    return y.to(x.dtype)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw = Draw(device, dtype)
    return draw(3, 37, 4), draw.flags(0.3, 3, 37), draw(3, 4)


running_sum = Operator("running_sum", reference, TREE, sample=sample)
