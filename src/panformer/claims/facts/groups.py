"""Facts about attention within groups and among their latents, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.layout import Layout
from .mixers import _mixer

Pair = tuple[Tensor, Tensor]


def future(seed: int, size: int = 4, latents: int = 2, length: int = 19, known: int = 10, causal: bool = True) -> Pair:
    """FIT's answer at the first `known` tokens, and that where all later ones are others.

    `causal: false` lets tokens look ahead, which must not be equal.
    """
    tree = {"use": "fit", "heads": 2, "size": size, "latents": latents, "causal": causal}
    part, x = _mixer(seed, tree, 16, length)
    _, other = _mixer(seed + 1000, tree, 16, length)
    changed = torch.cat([x[:, :known], other[:, known:]], 1)
    at = Layout.dense(2, length)
    return part(x, at)[:, :known], part(changed, at)[:, :known]
