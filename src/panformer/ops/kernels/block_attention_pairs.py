"""Block attention without the matrix: the scores of the chosen pairs of regions alone, summed up per query."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backend import Kernel
from ..online_softmax import OnlineSoftmax


def run(
    q: Tensor, k: Tensor, v: Tensor, real: Tensor, asks: Tensor, looks: Tensor, rest: OnlineSoftmax | None
) -> Tensor:
    """Costs P S^2 (E + V). Every softmax is taken below its own largest score, which is a constant to its gradient."""
    n, h, r, s, e = q.shape
    wide = torch.promote_types(q.dtype, torch.float32)  # pairs are summed one by one
    first = torch.arange(n * h, device=q.device).view(n, h, 1) * r
    i, j = ((first + z.clamp(min=0)).flatten() for z in (asks, looks))
    q_i, k_j, v_j = (_pick(x, index) for x, index in ((q * e**-0.5, i), (k, j), (v, j)))  # (P, S, E)
    seen = _pick(real.expand(n, h, r, s), j) & (asks >= 0).flatten()[:, None]
    score = (q_i @ k_j.mT).masked_fill(~seen[:, None], -torch.inf)  # (P, S, S)
    with torch.no_grad():
        top = torch.full((n * h * r, s), -torch.inf, dtype=q.dtype, device=q.device)
        top = top.scatter_reduce(0, i[:, None].expand(-1, s), score.amax(-1), "amax")
        if rest is not None:
            top = torch.maximum(top, rest.max.reshape(-1, s))
        top = torch.where(top.isinf(), 0, top)
    weight = torch.exp(score - top.index_select(0, i)[..., None])
    total = torch.zeros(n * h * r, s, dtype=wide, device=q.device).index_add(0, i, weight.sum(-1, dtype=wide))
    out = torch.zeros(n * h * r, s, v.shape[-1], dtype=wide, device=q.device).index_add(0, i, (weight @ v_j).to(wide))
    if rest is not None:
        more = torch.exp(rest.max.reshape(-1, s).to(wide) - top)  # its gradient is a small difference of large sums
        total = total + more * rest.sum.reshape(-1, s)
        out = out + more[..., None] * rest.out.reshape(out.shape)
    out = out / torch.where(total > 0, total, 1)[..., None]
    return out.to(q.dtype).view(n, h, r, s, -1)


def _pick(x: Tensor, index: Tensor) -> Tensor:
    """x (N, H, R, ...), index (P,) into the N*H*R -> (P, ...)."""
    return x.reshape(-1, *x.shape[3:]).index_select(0, index)


PAIRS = Kernel("pairs", lambda *args: None, run)
