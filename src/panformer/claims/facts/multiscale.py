"""Facts about a decoder over patches that tells a decoder within each patch, in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.shared import Shared
from .mixers import _mixer

Pair = tuple[Tensor, Tensor]
WIDTH, SIZE, LENGTH = 16, 4, 24
STAGES = {
    "transformer": {"use": "attention", "heads": 2, "causal": True, "position": "rope"},
    "mamba": {"use": "mamba"},
}


def written_out(seed: int, outer: str = "mamba", inner: str = "transformer", late: bool = True) -> Pair:
    """The mixer, and its two models on patches and in patches. Without `late` each patch is told of itself."""
    part, x = _part(seed, outer, inner)
    patches = x.view(2, -1, SIZE * WIDTH)
    told = _layers(part.outer, part.outer_norm, part.down(patches))
    if late:
        told = torch.cat([part.first.expand(2, 1, -1), told[:, :-1]], 1)
    h = (patches + part.up(told)).view(-1, SIZE, WIDTH)
    return part(x, Layout.dense(2, LENGTH)), _layers(part.inner, part.inner_norm, h).view_as(x)


def causal(seed: int, outer: str = "mamba", inner: str = "transformer", cut: int = 9, before: bool = True) -> Pair:
    """Answers `before` a cut within a patch when all later tokens change, and as they were; those after it do change."""
    part, x = _part(seed, outer, inner)
    other = torch.cat([x[:, :cut], x[:, cut:].flip(0)], 1)
    y, z = (part(v, Layout.dense(2, LENGTH)) for v in (x, other))
    return (y[:, :cut], z[:, :cut]) if before else (y[:, cut:], z[:, cut:])


def _part(seed: int, outer: str, inner: str) -> tuple[Any, Tensor]:
    tree = {"use": "multiscale", "size": SIZE, "outer": STAGES[outer], "inner": STAGES[inner]}
    return _mixer(seed, tree, WIDTH, LENGTH)


def _layers(layers: Any, norm: Any, x: Tensor) -> Tensor:
    at = Layout.dense(*x.shape[:2])
    for layer in layers:
        x = layer(x, at, Shared())
    out: Tensor = norm(x, at)
    return out
