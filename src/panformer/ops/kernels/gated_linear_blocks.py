"""gated_linear in short blocks: the products of a block with the decay of every channel between two tokens written out.

No exponent is ever above 0, however fast a channel fades, so nothing overflows. Between blocks the sums are carried as
in linear attention, channel by channel.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...core.layout import Layout
from ..backend import Kernel
from .linear_attention_blocks import carry, cut, factors, times

Weigh = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

SIZE = 16  # tokens per block: a token costs SIZE E inside its block and holds E V / SIZE of the sums


def refuses(q: Tensor, k: Tensor, v: Tensor, fall: Tensor, at: Layout, s: Tensor | None) -> str | None:
    return "one token: the formula itself is fastest" if q.shape[2] == 1 else None


def run(q: Tensor, k: Tensor, v: Tensor, fall: Tensor, at: Layout, s: Tensor | None) -> tuple[Tensor, Tensor]:
    return mix(q, k, v, fall, at, s, SIZE, weigh)


def mix(
    q: Tensor, k: Tensor, v: Tensor, fall: Tensor, at: Layout, s: Tensor | None, size: int, weigh: Weigh
) -> tuple[Tensor, Tensor]:
    """The operator in blocks of `size` tokens, with one of several forms of `weigh`."""
    kind, length, wide = v.dtype, q.shape[2], torch.promote_types(v.dtype, torch.float32)
    q, k, v, fall = (x.to(wide) for x in (q, k, v, fall))
    f = factors(q, at, None, None, s is not None, size)  # masks alone
    q, k, v, fall = (cut(x, size) for x in (q, k, v, fall.masked_fill(~at.valid[:, None, :, None], 0)))
    since = f.inside @ fall  # (B, H, n, c, E) since the block or the sequence began
    total = times(fall, f.leave).sum(-2)  # (B, H, n, E)
    y = weigh(q, k, since, f.inside) @ v
    keep = None if f.leave is None else (f.leave == 0)[..., None]
    left = f.inside.mT.triu(1) @ fall  # summed again: a difference of long sums would lose its last digits
    leaving = k * (left if keep is None else left.masked_fill(keep, -torch.inf)).exp()
    gain = total.exp() if f.through is None else total.exp() * f.through[..., None]
    before, last = carry(leaving.mT @ v, gain[..., None], None if s is None else s.to(wide))
    if before is not None:
        y = y + times(q * since.exp(), f.enter) @ before
    return y.flatten(2, 3)[:, :, :length].to(kind), last


def weigh(q: Tensor, k: Tensor, since: Tensor, inside: Tensor) -> Tensor:
    """(B, H, n, c, c): sum_e q_ie k_je exp(since_ie - since_je), 0 where `inside` (B|1, 1, n|1, c, c) is."""
    apart = since[..., :, None, :] - since[..., None, :, :]
    near = apart.masked_fill((inside == 0)[..., None], -torch.inf).exp()
    return (q[..., :, None, :] * k[..., None, :, :] * near).sum(-1)


BLOCKS = Kernel("blocks", refuses, run)
