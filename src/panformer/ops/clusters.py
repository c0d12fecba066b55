"""Spherical k-means, online: directions that tokens are nearest to, and moving averages of the tokens nearest to them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def nearest(x: Tensor, means: Tensor) -> Tensor:
    """x (..., H, L, E), means (H, C, E) -> (..., H, L) int64: the mean with the largest product."""
    return (x @ means.mT).max(-1).indices  # argmax takes three times as long in bf16


def best(x: Tensor, means: Tensor, count: Tensor, most: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """For every mean the tokens with the largest product: (places (N, H, C, size), largest first, which there are).

    x (N, H, L, E), of which the first `count` (N,) are tokens; most (N,) <= size is how many of them a mean gets.
    """
    late = torch.arange(x.shape[2], device=x.device) >= count[:, None]
    product = (x @ means.mT).mT.masked_fill(late[:, None, None], -torch.inf)
    order = _largest(product, size)
    return order, (torch.arange(size, device=x.device) < most[:, None])[:, None, None].expand(order.shape)


def _largest(x: Tensor, size: int) -> Tensor:
    """(..., L) -> (..., size) int64: the places of the largest, of equal ones the first, which `topk` does not promise."""
    if x.dtype == torch.float64:
        return x.argsort(dim=-1, descending=True, stable=True)[..., :size]
    bits = (x.float() + 0.0).view(torch.int32).long()  # + 0 makes one zero of two
    rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # in the order of the numbers
    last = torch.arange(x.shape[-1] - 1, -1, -1, device=x.device)
    return ((rising << 32) + last).topk(size, dim=-1).indices


def centred(x: Tensor, own: Tensor, means: Tensor) -> Tensor:
    """The directions of the sums of the unit vectors x (P, H, E) whose mean (H, C, E) is their `own` (P, H); where there
    are none, the mean as it was. A step of spherical k-means; Dhillon & Modha 2001."""
    heads, count, _ = means.shape
    own = (own + count * torch.arange(heads, device=own.device)).flatten()
    wide = torch.promote_types(x.dtype, torch.float32)
    total = means.new_zeros(heads * count, means.shape[2], dtype=wide).index_add_(0, own, x.flatten(0, 1).to(wide))
    some = means.new_zeros(heads * count, 1, dtype=torch.bool).index_fill_(0, own, True)
    towards = F.normalize(total, dim=-1).to(means.dtype)
    return torch.where(some.view(heads, count, 1), towards.view(means.shape), means)


def settled(x: Tensor, count: int, steps: int = 10) -> Tensor:
    """Means (H, count, E) of the unit vectors x (P, H, E), from evenly spread ones of them by `steps` of k-means."""
    start = torch.arange(count, device=x.device) * len(x) // count
    means, by_head = x[start].transpose(0, 1), x.transpose(0, 1)
    for _ in range(steps):
        means = centred(x, nearest(by_head, means).mT, means)
    return means
