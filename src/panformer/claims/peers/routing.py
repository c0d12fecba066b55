"""Attention within clusters against the package routing-transformer, on copied centres."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.errors import require
from ...core.layout import Layout
from ...core.part import config
from ...ops.attend import merge_heads, split_heads

Pair = tuple[list[Tensor], list[Tensor]]
HOME = "routing_transformer.routing_transformer"


def two_sided(seed: int, clusters: int = 4, window: int = 6, length: int = 19) -> Pair:
    """KmeansAttention with queries and keys of their own: the answer, and where its centres point after a batch.

    It divides by 1e-5 more than the number of a token's clusters, which is taken away here.
    """
    ours, theirs = _both(seed, {"clusters": clusters, "window": window, "decay": 0.9}, False)
    x = torch.randn(2, length, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with torch.no_grad():
        q, k, v = (split_heads(m(x), 2) for m in (ours.q, ours.k, ours.v))
        out = _call(theirs, q, k, v)
        mine = ours(x, Layout.dense(2, length))
        theirs.train()(q, k, v)
        theirs.kmeans.update()
        ours.batches += 1  # not the first: that one would settle the centres
        ours.train()(x, Layout.dense(2, length))
        return [mine, ours.means], [ours.o(merge_heads(out)), F.normalize(theirs.kmeans.means, dim=-1)]


def causal(seed: int, clusters: int = 3, each: int = 5, mixed: bool = False) -> Pair:
    """KmeansAttention, causal with shared queries and keys, where every centre is nearest to `each` tokens exactly.

    There its clusters of the nearest tokens are those of the tokens' own centres. `mixed` draws tokens anywhere, which
    must not be equal.
    """
    ours, theirs = _both(seed, {"clusters": clusters, "window": each * clusters}, True, window=each)
    rng = torch.Generator().manual_seed(seed)
    of = torch.stack([torch.randperm(clusters * each, generator=rng) % clusters for _ in range(2)])  # (H, T)
    q = ours.means.gather(1, of[..., None].expand(-1, -1, 8))
    q = q + 0.1 * torch.randn(2, *q.shape, generator=rng, dtype=torch.float64) * (20 if mixed else 1)
    q = q * (1 + torch.rand(*q.shape[:3], 1, generator=rng, dtype=torch.float64))
    with torch.no_grad():
        torch.nn.init.eye_(ours.q.weight)
        x = merge_heads(q)
        out = _call(theirs, q, q, split_heads(ours.v(x), 2))
        return [ours(x, Layout.dense(*x.shape[:2]))], [ours.o(merge_heads(out))]


def _both(seed: int, options: dict[str, Any], causal: bool, window: int | None = None) -> tuple[Any, Any]:
    """Ours, of width 16 with 2 heads, and theirs with the same centres, which point along axes where there are few."""
    t = require(HOME, "dev")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tree = {"use": "routing_attention", "heads": 2, "causal": causal, **options}
        ours = config("mixers", tree).build(16).double().eval()
        theirs = t.KmeansAttention(
            options["clusters"],
            window or options["window"],
            2,
            8,
            causal,
            0.0,
            options.get("decay", 0.999),
            shared_qk=causal,
        )
    with torch.no_grad():
        if causal:
            ours.means.copy_(torch.eye(8, dtype=torch.float64)[: options["clusters"]].expand_as(ours.means))
    theirs = theirs.double().eval()
    theirs.kmeans.means.copy_(ours.means)
    theirs.kmeans.initted.fill_(True)
    return ours, theirs


def _call(theirs: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    t = require(HOME, "dev")
    with patch.object(t, "scatter_mean", partial(t.scatter_mean, eps=1e-300)):
        found: Tensor = theirs(q, k, v)[0]
        return found
