"""Softmax-weighted sums as a commutative monoid on (max, sum, out), so that keys may come in any pieces.

Milakov & Gimelshein 2018, Online normalizer calculation for softmax.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class OnlineSoftmax(NamedTuple):
    max: Tensor  # (..., T)     largest score so far, -inf where nothing was seen
    sum: Tensor  # (..., T)     sum of exp(score - max)
    out: Tensor  # (..., T, V)  sum of exp(score - max) * value


def part(score: Tensor, v: Tensor) -> OnlineSoftmax:
    """One piece: score (..., T, S), v (..., S, V)."""
    top = score.amax(-1)
    weight = torch.exp(score - finite(top)[..., None])
    return OnlineSoftmax(top, weight.sum(-1), weight @ v)


def merge(a: OnlineSoftmax, b: OnlineSoftmax) -> OnlineSoftmax:
    """Both pieces together; associative and commutative, with `unit` as neutral element."""
    top = torch.maximum(a.max, b.max)
    wa, wb = torch.exp(a.max - finite(top)), torch.exp(b.max - finite(top))
    return OnlineSoftmax(top, wa * a.sum + wb * b.sum, wa[..., None] * a.out + wb[..., None] * b.out)


def unit(like: OnlineSoftmax) -> OnlineSoftmax:
    """The piece that saw nothing."""
    return OnlineSoftmax(torch.full_like(like.max, -torch.inf), torch.zeros_like(like.sum), torch.zeros_like(like.out))


def finish(p: OnlineSoftmax) -> Tensor:
    """(..., T, V); a query that saw nothing gives 0."""
    return p.out / torch.where(p.sum > 0, p.sum, 1)[..., None]


def finite(top: Tensor) -> Tensor:
    """0 for the maximum of nothing, so that exp(score - max) is 0 there."""
    return torch.where(top.isinf(), 0, top)
