"""region_attention in blocks: every region is summed up once, and a block of queries reads its keys and all summaries."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.sparse import bands
from ..backend import Kernel
from ..online_softmax import finish, part


def refuses(
    q: Tensor, k: Tensor, v: Tensor, p: Tensor, valid: Tensor, block: int | None, causal: bool, scale: float
) -> str | None:
    return None


def run(
    q: Tensor, k: Tensor, v: Tensor, p: Tensor, valid: Tensor, block: int | None, causal: bool, scale: float
) -> Tensor:
    length, kind = k.shape[2], v.dtype
    wide = torch.promote_types(kind, torch.float32)
    q, k, v, p = (x.to(wide) for x in (q, k, v, p))
    first, out = length - q.shape[2], []
    for start, stop, size in bands(length, block):
        if stop <= first:
            continue
        begin = max(start, first)
        a, b = begin // size, -(-stop // size)  # blocks with queries
        count = b if causal else -(-length // size)
        here = F.pad(q[:, :, begin - first : stop - first], (0, 0, begin - a * size, b * size - stop))
        here = here.unflatten(2, (-1, size))
        real = _cut(valid[:, None, :, None], count, size)  # (N, 1, R, s, 1)
        keys, queries, values = (_cut(x, count, size) for x in (k, p, v))
        some = real.any(3)
        summary, told = summed(keys, values, queries, real, scale)
        i, r = torch.arange(size, device=q.device), torch.arange(count, device=q.device)
        near = real[:, :, a:b].mT & ((i <= i[:, None]) if causal else (i == i))
        far = some[:, :, None].mT & ((r < r[a:b, None, None]) if causal else (r != r[a:b, None, None]))
        seen = torch.cat([near.expand(-1, -1, -1, size, -1), far.expand(-1, -1, -1, size, -1)], -1)
        x = torch.cat([here @ keys[:, :, a:b].mT, here @ summary[:, :, None].mT], -1) * scale
        told = told[:, :, None].expand(-1, -1, b - a, -1, -1)
        y = finish(part(x.masked_fill(~seen, -torch.inf), torch.cat([values[:, :, a:b], told], 3)))
        out.append(y.flatten(2, 3)[:, :, begin - a * size : stop - a * size])
    return torch.cat(out, 2).to(kind)


def summed(k: Tensor, v: Tensor, p: Tensor, real: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """(K_r (N, H, R, E), sum_j p(j | r) v_j (N, H, R, V)) of blocks k, p (N, H, R, s, E), v (N, H, R, s, V).

    real (N|1, 1, R|1, s|1, 1): which of their places have a token.
    """
    summary, asks = (torch.where(real.any(3), x.masked_fill(~real, -torch.inf).amax(3), 0) for x in (k, p))
    told = finish(part((asks[:, :, :, None] @ k.mT * scale).masked_fill(~real.mT, -torch.inf), v))
    return summary, told[:, :, :, 0]


def _cut(x: Tensor, count: int, size: int) -> Tensor:
    """(N, H, L, E) -> (N, H, count, size, E), zeros past the end."""
    x = x[:, :, : count * size]
    return F.pad(x, (0, 0, 0, count * size - x.shape[2])).unflatten(2, (count, size))


BLOCKS = Kernel("blocks", refuses, run)
