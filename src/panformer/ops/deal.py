"""Whole numbers in proportion: how many of a fixed number of things each gets."""

from __future__ import annotations

import torch
from torch import Tensor


def deal(share: Tensor, count: int) -> Tensor:
    """(..., G) >= 0 -> (..., count) int64: who gets each of `count` things, in proportion to the shares, in order.

    Everyone gets the whole part of count * share / sum of shares, and the largest remainders one more, earlier ones
    first among equals. Where no share is above 0 all are equal. Hamilton's method.
    """
    groups = share.shape[-1]
    share = share.detach().double()
    total = share.sum(-1, keepdim=True)
    exact = count * torch.where(total > 0, share / total.where(total > 0, 1), 1 / groups)
    whole = (exact + 1e-9).floor()  # rounding must not turn an exact 3 into 2
    order = torch.argsort(exact - whole, dim=-1, descending=True, stable=True)
    place = torch.empty_like(order).scatter_(-1, order, torch.arange(groups, device=share.device).expand_as(order))
    got = whole + (place < count - whole.sum(-1, keepdim=True))
    ends = got.cumsum(-1)
    return (torch.arange(count, device=share.device)[:, None] >= ends[..., None, :]).sum(-1)
