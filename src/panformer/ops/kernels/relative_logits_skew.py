"""relative_logits of a whole sequence by the skew: the products with one vector per distance, rows moved by one each.

Beside queries and answer there are T vectors, not T^2 of them. Huang et al. 2018, Music Transformer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.layout import Layout
from ..backend import Kernel
from ..check import Draw


def refuses(q: Tensor, table: Tensor, q_at: Layout, k_at: Layout, two_sided: bool) -> str | None:
    if q_at is not k_at:
        return "queries and keys stand at different places"
    if not q_at.full or q_at.batch not in (1, len(q)) or q_at.length < 2:
        return "not one sequence of several tokens a row"
    if torch.compiler.is_compiling():
        return "whether positions count up depends on the data"
    if q_at.pos.shape[-1] != 1 or not q_at.derive("counts up", lambda: _counts_up(q_at)):
        return "positions do not count up by one"
    return None


def run(q: Tensor, table: Tensor, q_at: Layout, k_at: Layout, two_sided: bool) -> Tensor:
    length, reach = q.shape[2], table.shape[1] // 2 if two_sided else table.shape[1] - 1
    behind = torch.arange(length - 1, -length if two_sided else -1, -1, device=q.device)
    vectors = table[:, behind.clamp(-reach, reach) + reach * two_sided]  # (H, T or 2T - 1, E), the farthest back first
    products = q @ vectors.mT  # row i holds its keys T - 1 - i places further right than their own
    if two_sided:
        moved = products.flatten(-2)[..., length - 1 : length - 1 + length * (2 * length - 2)]
        return moved.unflatten(-1, (length, 2 * length - 2))[..., :length]
    moved = F.pad(products, (1, 0)).flatten(-2).unflatten(-1, (length + 1, length))
    return moved[..., 1:, :].tril()


def _counts_up(at: Layout) -> bool:
    return bool((at.pos[:, 1:] - at.pos[:, :-1] == 1).all())


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), Layout.dense(2, 19, 3, device)
    return draw(2, 4, 19, 8), draw(4, 11, 8), at, at, True


SKEW = Kernel("skew", refuses, run, sample)
