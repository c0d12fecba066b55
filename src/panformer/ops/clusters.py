"""Spherical k-means, online: directions that tokens are nearest to, and moving averages of the tokens nearest to them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def nearest(x: Tensor, means: Tensor) -> Tensor:
    """x (N, H, L, E), means (H, C, E) -> (N, H, L) int64: the mean with the largest product."""
    return (x @ means.mT).argmax(-1)


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


def centred(x: Tensor, means: Tensor) -> Tensor:
    """The directions of the sums of the unit vectors x (H, P, E) nearest to each mean (H, C, E); where there are none,
    the mean as it was. A step of spherical k-means; Dhillon & Modha 2001."""
    own = (x @ means.mT).argmax(-1)
    total = torch.zeros_like(means).scatter_add(1, own[..., None].expand_as(x), x)
    some = torch.zeros_like(means[..., 0]).scatter_add(1, own, torch.ones_like(x[..., 0])) > 0
    return torch.where(some[..., None], F.normalize(total, dim=-1), means)


def settled(x: Tensor, count: int, steps: int = 10) -> Tensor:
    """Means (H, count, E) of the unit vectors x (H, P, E), from evenly spread ones of them by `steps` of k-means."""
    start = torch.arange(count, device=x.device) * x.shape[1] // count
    means = x[:, start]
    for _ in range(steps):
        means = centred(x, means)
    return means
