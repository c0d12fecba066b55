"""Facts about feature maps from drawn frequencies, in float64: the kernels they tend to, and what they reduce to."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ...core.part import config

Pair = tuple[Tensor, Tensor]


def rate(
    seed: int, form: Literal["positive", "waves"] = "positive", distinct: bool = True, size: int = 8, draws: int = 100
) -> float:
    """The power of M with which the error of random features falls: the slope of log root mean square error on log M.

    Independent frequencies, and short vectors, as the error of positive features grows exponentially with their length
    and would need ever more draws to be seen; the kernel is exp(q . k / sqrt(E)) of positive features and exp(-|q - k|^2 / (2 sqrt(E)))
    of waves. `distinct: false` repeats one frequency M times, which must not help.
    """
    counts = (16, 32, 64, 128, 256, 512)
    rng = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(1, 1, 32, size, generator=rng, dtype=torch.float64) / 2 for _ in range(2))
    near = q @ k.mT if form == "positive" else -torch.cdist(q, k).square() / 2
    exact, found = (near * size**-0.5).exp(), []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for count in counts:
            errors = []
            for _ in range(draws):
                feature = config("features", {"use": "random", "form": form, "count": count, "draw": "independent"})
                feature = feature.build(1, size).double()
                if not distinct:
                    feature.w.copy_(feature.w[:1].clone().expand_as(feature.w))
                a, b = feature(q, k)
                errors.append((a @ b.mT - exact).square().mean())
            found.append(float(torch.stack(errors).mean().sqrt()))
    return float(np.polyfit([math.log(c) for c in counts], [math.log(e) for e in found], 1)[0])


def mixture(seed: int, form: Literal["positive", "waves"] = "positive", centred: bool = True) -> Pair:
    """Weights of a learned mixture with one Gaussian N(0, I), and of random features with its noise as frequencies.

    `centred: false` leaves its mean where it starts, which must not be equal.
    """
    q, k, ours = _feature(seed, {"use": "mixture", "components": 1, "form": form, "count": 12})
    _, _, fixed = _feature(seed, {"use": "random", "form": form, "count": 12})
    with torch.no_grad():
        fixed.w.copy_(ours.noise[0, 0])
        if centred:
            ours.mean.zero_()
    return _weights(ours, q, k), _weights(fixed, q, k)


def fastfood(seed: int, blocks: int = 2, shuffled: bool = True) -> Pair:
    """Weights of the fast transform, and of random features whose frequencies are S H G P H B / sqrt(n) written out.

    `shuffled: false` leaves P out, which must not be equal.
    """
    q, k, ours = _feature(seed, {"use": "fastfood", "blocks": blocks})
    n = ours.b.shape[-1]
    _, _, fixed = _feature(seed, {"use": "random", "count": blocks * n})
    h = torch.ones(1, 1, dtype=torch.float64)
    while len(h) < n:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    rows = []
    for s, g, b, order in zip(ours.s[0], ours.g[0], ours.b[0], ours.order[0], strict=True):
        p = torch.eye(n, dtype=torch.float64)[order] if shuffled else torch.eye(n, dtype=torch.float64)
        rows.append(s.diag() @ h @ g.diag() @ p @ h @ b.diag() / math.sqrt(n))
    with torch.no_grad():
        fixed.w.copy_(torch.cat(rows)[:, : q.shape[-1]])
    return _weights(ours, q, k), _weights(fixed, q, k)


def mirror(seed: int, mirrored: bool = True) -> Pair:
    """Hedgehog's unnormalised weights, and 2 sum_m cosh((W q + b)_m + (W' k + b')_m).

    `mirrored: false` compares with sum_m exp of the same, which must not be equal.
    """
    q, k, feature = _feature(seed, {"use": "hedgehog", "form": "exp"})
    with torch.no_grad():
        for p in feature.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(seed), dtype=p.dtype))
    a, b = (x @ feature.w[i] + feature.b[i] for i, x in enumerate((q, k)))
    total = a[..., :, None, :] + b[..., None, :, :]
    return _weights(feature, q, k), (2 * total.cosh() if mirrored else total.exp()).sum(-1)


def _feature(seed: int, tree: dict[str, object], size: int = 6) -> tuple[Tensor, Tensor, Any]:
    """(queries, keys (2, 1, 9, size), the map for one head), in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        q, k = (torch.randn(2, 1, 9, size, dtype=torch.float64) for _ in range(2))
        return q, k, config("features", tree).build(1, size).double().eval()


def _weights(feature: Any, q: Tensor, k: Tensor) -> Tensor:
    a, b = feature(q, k)
    return a @ b.mT
