"""gated_linear in short blocks: the products of a block with the decay of every channel between two tokens written out.

No exponent is ever above 0, however fast a channel fades, so nothing overflows. Between blocks the sums are carried as
in linear attention, channel by channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ..backend import Kernel
from ..falls import LOST
from .linear_attention_blocks import carry, cut, factors, times
from .room import at_once

Weigh = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

SIZE = 16  # tokens per block: a token costs SIZE E inside its block and holds E V / SIZE of the sums


def refuses(q: Tensor, k: Tensor, v: Tensor, fall: Tensor, at: Layout, s: Tensor | None) -> str | None:
    return "one token: the formula itself is fastest" if q.shape[2] == 1 else None


def run(q: Tensor, k: Tensor, v: Tensor, fall: Tensor, at: Layout, s: Tensor | None) -> tuple[Tensor, Tensor]:
    return mix(q, k, v, fall, at, s, SIZE, _Weigh.apply)


def mix(
    q: Tensor, k: Tensor, v: Tensor, fall: Tensor, at: Layout, s: Tensor | None, size: int, weigh: Weigh
) -> tuple[Tensor, Tensor]:
    """The operator in blocks of `size` tokens, with one of several forms of `weigh`."""
    kind, length, wide = v.dtype, q.shape[2], torch.promote_types(v.dtype, torch.float32)
    q, k, v, fall = (x.to(wide) for x in (q, k, v, fall))
    f = factors(q, at, None, None, s is not None, size)  # masks alone
    fall = fall.clamp_min(LOST).masked_fill(~at.valid[:, None, :, None], 0)
    q, k, v, fall = (cut(x, size) for x in (q, k, v, fall))
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
    return (q[..., :, None, :] * k[..., None, :, :] * _near(since, inside)).sum(-1)


def again(saved: tuple[Tensor, ...], push: Tensor) -> tuple[Tensor | None, ...]:
    """The backward pass of `weigh` in plain operations, which can be differentiated. saved: q, k, since, inside."""
    learned = [x for x in saved[:3] if x.requires_grad]
    grads = iter(torch.autograd.grad(weigh(*saved), learned, push, create_graph=True))
    return (*(next(grads) if x.requires_grad else None for x in saved[:3]), None)


class _Weigh(torch.autograd.Function):
    """`weigh`, a few blocks at a time."""

    @staticmethod
    def forward(ctx: Any, q, k, since, inside):
        ctx.save_for_backward(q, k, since, inside)
        return torch.cat([weigh(*few) for few in _strips(q, k, since, inside)], 2)

    @staticmethod
    def backward(ctx: Any, push):
        if torch.is_grad_enabled():  # a second derivative is wanted
            return again(ctx.saved_tensors, push)
        q, k, since, inside = ctx.saved_tensors
        dq, dk = [], []
        for one, other, fallen, mask, g in _strips(q, k, since, inside, push):
            near = _near(fallen, mask).mul_(g[..., None])
            dq.append((near * other[..., None, :, :]).sum(-2))
            dk.append(near.mul_(one[..., :, None, :]).sum(-3))
        to_q, to_k = torch.cat(dq, 2), torch.cat(dk, 2)
        return to_q, to_k, q * to_q - k * to_k, None


def _near(since: Tensor, inside: Tensor) -> Tensor:
    """exp(since_ie - since_je), (B, H, n, c, c, E)."""
    apart = since[..., :, None, :] - since[..., None, :, :]
    return apart.masked_fill_((inside == 0)[..., None], -torch.inf).exp_()


def _strips(q: Tensor, k: Tensor, since: Tensor, inside: Tensor, *more: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same, for some of the n blocks after the other."""
    few = at_once(q[:, :, :1].numel() * q.shape[3], q.device)
    for i in range(0, max(1, q.shape[2]), few):
        here = slice(i, i + few)
        mask = inside if inside.dim() < 5 or inside.shape[2] == 1 else inside[:, :, here]
        yield (*(x[:, :, here] for x in (q, k, since)), mask, *(x[:, :, here] for x in more))


BLOCKS = Kernel("blocks", refuses, run)
