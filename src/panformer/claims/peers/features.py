"""Feature maps against performer-pytorch, on copied frequencies."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.part import config
from ._copy import public

Pair = tuple[list[Tensor], list[Tensor]]


def performer(seed: int, count: int = 11, size: int = 8) -> Pair:
    """The attention maps and answers of `softmax_kernel` and `linear_attention`, without the constant that they add.

    Theirs scales features by their largest, of a query and of all keys, which cancels in a ratio.
    """
    p = public("performer_pytorch.performer_pytorch")
    rng = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(2, 3, 13, size, generator=rng, dtype=torch.float64) for _ in range(3))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        w = p.gaussian_orthogonal_random_matrix(count, size).double()
        ours = config("features", {"use": "random", "count": count}).build(3, size).double()
    ours.w.copy_(w)
    theirs = [p.softmax_kernel(x, projection_matrix=w, is_query=i == 0, eps=0.0) for i, x in enumerate((q, k))]
    mine = ours(q, k)
    maps = [a @ b.mT for a, b in (mine, theirs)]
    left, right = (m / m.sum(-1, keepdim=True) for m in maps)
    return [left, left @ v], [right, p.linear_attention(*theirs, v)]
