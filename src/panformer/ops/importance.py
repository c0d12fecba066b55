"""A sum over many terms from a few of them, drawn with a probability and weighed by its inverse."""

from __future__ import annotations

import torch
from torch import Tensor


def draw(chance: Tensor, count: Tensor, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """(places, log-weights), each (N, H, M), M = min(samples, L), from chances (N, H, L) that sum to 1.

    The sum of exp(log-weight) f(place) has the expectation sum_j f(j): drawn with replacement, by the same uniform
    numbers in every call and every sequence. Sequences of count (N,) <= samples terms take each of them once.
    """
    n, h, length = chance.shape
    m = min(samples, length)
    rng = torch.Generator().manual_seed(seed)
    dice = torch.rand(h, samples, generator=rng, dtype=torch.float64)[:, :m].to(chance.device).expand(n, h, m)
    line = chance.detach().double().cumsum(-1)
    drawn = torch.searchsorted(line, (dice * line[..., -1:]).contiguous(), right=True)
    drawn = torch.minimum(drawn, (count - 1)[:, None, None])
    each = torch.arange(m, device=chance.device).expand(n, h, m)
    whole, there = (count <= samples)[:, None, None], each < count[:, None, None]
    place = torch.where(whole, torch.where(there, each, 0), drawn)
    weight = torch.where(whole, 1.0, m * chance.gather(-1, place)).log().neg()
    return place, weight.masked_fill(whole & ~there, -torch.inf)
