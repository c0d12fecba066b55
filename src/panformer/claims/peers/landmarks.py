"""Attention through landmarks against a public package, on copied weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.errors import require
from ...core.layout import Layout
from ...core.part import config
from ._copy import carry, randomise

Pair = tuple[list[Tensor], list[Tensor]]


def linformer(seed: int, length: int = 13) -> Pair:
    """LinformerSelfAttention of the package `linformer`, on a full sequence and on one that is shorter than E and F."""
    theirs = require("linformer", "dev").LinformerSelfAttention(16, 13, k=5, heads=4).double()
    randomise(theirs, seed)
    tree = {"use": "linformer", "heads": 4, "length": 13, "rank": 5, "out_bias": True}
    ours = config("mixers", tree).build(16).double()
    weights = theirs.state_dict()
    weights = {n: w.T if n.startswith("proj_") else w for n, w in weights.items()}  # theirs are (length, rank)
    rules = (
        (r"([qkv])\.weight", r"to_\1.weight"), (r"o\.(\w+)", r"to_out.\1"),
        ("to_keys", "proj_k"), ("to_values", "proj_v"),
    )  # fmt: skip
    carry(ours, weights, rules)
    rng = torch.Generator().manual_seed(seed)
    xs = [torch.randn(2, n, 16, generator=rng, dtype=torch.float64) for n in (length, 7)]
    with torch.no_grad():
        return [ours(x, Layout.dense(*x.shape[:2])) for x in xs], [theirs(x) for x in xs]
