"""s_ij = q_i . r_(i-j): products of queries with a vector for every distance.

Shaw et al. 2018, Self-attention with relative position representations; Huang et al. 2018, Music Transformer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.layout import Layout
from ..core.score import distance
from .backend import Operator
from .check import Draw, mixed
from .kernels.relative_logits_picked import PICKED
from .kernels.relative_logits_skew import SKEW


def reference(q: Tensor, table: Tensor, q_at: Layout, k_at: Layout, two_sided: bool) -> Tensor:
    """q (B, H, T, E), table (H, D, E) -> (B, H, T, S). By a vector for every pair: H T S E numbers.

    The table is for the distances 0 .. reach, where keys after the query get 0, or two-sided for -reach .. reach; a
    distance past the reach has its vector. Layouts of one row are those of all rows.
    """
    apart, reach = distance(q_at, k_at)[:, 0], table.shape[1] // 2 if two_sided else table.shape[1] - 1
    vectors = table[:, apart.clamp(-reach if two_sided else 0, reach) + reach * two_sided]  # (H, B|1, T, S, E)
    out = (q[:, :, :, None] * vectors.transpose(0, 1)).sum(-1)
    return out if two_sided else out.masked_fill(apart[:, None] < 0, 0)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), mixed(device)
    return draw(2, 4, 70, 8), draw(4, 11, 8), at, at, True


relative_logits = Operator("relative_logits", reference, SKEW, PICKED, sample=sample, traced=PICKED.run)
