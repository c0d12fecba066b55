"""Locality-sensitive hashing: vectors of like direction come next to each other."""

from __future__ import annotations

import torch
from torch import Tensor


def planes(heads: int, size: int, bits: int, seed: int, like: Tensor) -> Tensor:
    """(H, E, bits) normals of random planes, the same for a seed whatever the type."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(heads, size, bits, generator=rng, dtype=torch.float64).to(like)


def angular_rank(x: Tensor, normals: Tensor) -> Tensor:
    """x (N, H, L, E), normals (H, E, bits) -> (N, H, L) int64 in 0 .. 2^bits - 1.

    The bits say on which side of each plane x lies; their rank is its place in the Gray code, so that consecutive
    ranks differ by one side. Charikar 2002.
    """
    turns = ((x @ normals) > 0).long().cumsum(-1) % 2
    return (turns << torch.arange(normals.shape[-1] - 1, -1, -1, device=x.device)).sum(-1)


def cross_polytope(x: Tensor, normals: Tensor, rounds: int) -> Tensor:
    """x (N, H, L, E), normals (H, E, rounds * M) -> (N, H, L, R) int64 in 0 .. 2M - 1: of M directions and their opposites the
    one that x lies nearest to, in each round. Andoni et al. 2015; its M random, as in Kitaev et al. 2020."""
    along = (x @ normals).unflatten(-1, (rounds, -1))  # (N, H, L, R, M)
    return torch.cat([along, -along], -1).argmax(-1)


def order(rank: Tensor, real: Tensor) -> Tensor:
    """(N, H, L): the places by rising rank, equal ones as they stand, those that are not real (N, 1, L) last."""
    return torch.where(real, rank, rank.new_full((), 2**62)).argsort(stable=True, dim=-1)


def rearrange(x: Tensor, places: Tensor) -> Tensor:
    """x (N, H, L, E), places (N, H, M) -> (N, H, M, E): row m holds x at places[m]."""
    n, h, length, _ = x.shape
    first = torch.arange(n * h, device=x.device).view(n, h, 1) * length
    return x.flatten(0, 2).index_select(0, (places + first).flatten()).view(*places.shape, -1)
