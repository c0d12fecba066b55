"""Facts about modern Hopfield networks, in float64: the update is attention, lowers an energy, and retrieves at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.layout import Layout
from ...ops import hopfield as network
from .mixers import _mixer

Pair = tuple[Tensor, Tensor]


def attention(seed: int, heads: int = 2, width: int = 16, length: int = 19, steps: int = 1) -> Pair:
    """The Hopfield mixer with one update, and torch's scaled dot-product attention with the same maps.

    More `steps` move the queries first, which must not be equal.
    """
    part, x = _mixer(seed, {"use": "hopfield", "heads": heads, "steps": steps}, width, length)
    q, k, v = (m(x).unflatten(-1, (heads, -1)).transpose(1, 2) for m in (part.q, part.k, part.v))
    y = F.scaled_dot_product_attention(q, k, v)
    return part(x, Layout.dense(2, length)), part.o(y.transpose(1, 2).flatten(2))


def energy_rise(
    seed: int, beta: float = 1.0, patterns: int = 40, size: int = 12, steps: int = 30, stride: float = 1.0
) -> float:
    """The largest rise of the energy over one update, from many states that start anywhere.

    `stride` moves that many times as far as the update says: beyond 2 the energy may rise.
    """
    rng = torch.Generator().manual_seed(seed)
    stored = torch.randn(patterns, size, generator=rng, dtype=torch.float64)
    xi = 2 * torch.randn(64, size, generator=rng, dtype=torch.float64)
    worst, now = -math.inf, network.energy(xi, stored, beta)
    for _ in range(steps):
        xi = xi + stride * (network.update(xi, stored, beta) - xi)
        before, now = now, network.energy(xi, stored, beta)
        worst = max(worst, float((now - before).max()))
    return worst


def averaged(seed: int, beta: float, groups: int = 4, each: int = 8, size: int = 32, steps: int = 200) -> float:
    """How many patterns a fixed point averages, exp(entropy of softmax(beta X xi)), mean over starts at the patterns.

    Stored are `groups` of `each` unit patterns around one direction per group: small beta averages all, a larger one
    those of a group, a very large one is a single pattern.
    """
    rng = torch.Generator().manual_seed(seed)
    middle = torch.linalg.qr(torch.randn(size, groups, generator=rng, dtype=torch.float64))[0].T
    spread = torch.randn(groups, each, size, generator=rng, dtype=torch.float64) * 0.5 * size**-0.5
    stored = F.normalize((middle[:, None] + spread).flatten(0, 1), dim=-1)
    xi = stored
    for _ in range(steps):
        xi = network.update(xi, stored, beta)
    share = (beta * xi @ stored.mT).softmax(-1)
    return float(torch.special.entr(share).sum(-1).exp().mean())


def retrieved(
    seed: int, sizes: Sequence[int] = (8, 10, 12, 14), base: float = 2.0, beta: float = 1.0, radius: float = 2.0
) -> float:
    """The least share over sizes d of base^(d/2) patterns that ONE update finds again from a disturbed pattern.

    Patterns are random on the sphere of radius `radius` sqrt(d - 1); each starts moved by a tenth of the radius, and
    is found where it is nearest to the answer and no further than that away.
    """
    least = 1.0
    for size in sizes:
        stored, xi = _disturbed(seed, round(base ** (size / 2)), size, radius)
        apart = torch.cdist(network.update(xi, stored, beta), stored)
        own = apart.diagonal()
        found = (apart.argmin(-1) == torch.arange(len(stored))) & (own <= 0.1 * radius * math.sqrt(size - 1))
        least = min(least, float(found.double().mean()))
    return least


def error_rate(
    seed: int,
    against: Literal["separation", "dimension"],
    sizes: Sequence[int] = (6, 9, 12, 15, 18),
    patterns: int = 24,
    apart: bool = True,
) -> float:
    """Slope of log(error after one update): per dimension, or per unit of separation min_j(x_i x_i - x_i x_j).

    Random patterns on the sphere of radius sqrt(d - 1), beta = 1, states that start at a pattern; the error is that of
    the pattern that was meant, over the radius. `apart: false` stores every pattern twice, a little moved, so that
    dimension does not separate them.
    """
    rows = []
    for size in sizes:
        stored, _ = _disturbed(seed, patterns, size, 1.0)
        if not apart:
            rng = torch.Generator().manual_seed(seed + 1)
            stored = torch.cat([stored, stored + 0.1 * torch.randn(stored.shape, generator=rng, dtype=stored.dtype)])
        error = (network.update(stored, stored, 1.0) - stored).norm(dim=-1) / math.sqrt(size - 1)
        gap = _separation(stored)
        rows.append((torch.full_like(gap, size), gap, error.log()))
    dimension, gap, log = (torch.cat(column) for column in zip(*rows, strict=True))
    x = gap if against == "separation" else dimension
    x = x - x.mean()
    return float((x * log).sum() / x.square().sum())


def error_over_bound(seed: int, slack: float = 1.0, patterns: int = 30, size: int = 16, beta: float = 1.0) -> float:
    """The largest error after one update over 2 (N - 1) M exp(-beta (D - 2 M |xi - x|)), Ramsauer et al. 2020, theorem 5.

    D is the separation of the pattern x that xi starts near. `slack` divides the bound: one that is much too small is
    not kept.
    """
    stored, _ = _disturbed(seed, patterns, size, 1.0)
    rng = torch.Generator().manual_seed(seed + 2)
    xi = stored + 0.02 * torch.randn(stored.shape, generator=rng, dtype=stored.dtype)
    error = (network.update(xi, stored, beta) - stored).norm(dim=-1)
    gap = _separation(stored)
    longest = stored.norm(dim=-1).max()
    bound = 2 * (patterns - 1) * longest * (-beta * (gap - 2 * longest * (xi - stored).norm(dim=-1))).exp()
    return float((slack * error / bound).max())


def _separation(stored: Tensor) -> Tensor:
    """min_j(x_i x_i - x_i x_j) of every pattern i."""
    product = stored @ stored.mT
    others = product.masked_fill(torch.eye(len(stored), dtype=torch.bool), -math.inf)
    return product.diagonal() - others.amax(-1)


def _disturbed(seed: int, count: int, size: int, radius: float) -> Pair:
    """(patterns on the sphere of radius `radius` sqrt(size - 1), the same moved by a tenth of that), (count, size)."""
    rng = torch.Generator().manual_seed(seed)
    stored, moved = (
        F.normalize(torch.randn(count, size, generator=rng, dtype=torch.float64), dim=-1) for _ in range(2)
    )
    length = radius * math.sqrt(size - 1)
    return length * stored, length * (stored + 0.1 * moved)
