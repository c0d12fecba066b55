"""From a spec to a model: the only door through which parts meet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core.errors import InputError
from ..core.part import Part, config
from ..core.spec import Spec, read, resolve
from .model import Model


def build(spec: str | Path | Mapping[str, Any] | Spec, seed: int | None = None) -> Model:
    """The model of a spec: a tree, a file, or a preset name. The same seed gives the same weights.

    Without a seed, weights are drawn from torch's global generator.
    """
    resolved = resolve(read(spec))
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        model = Model(resolved)
    share(model)
    return model


def part(family: str, use: str, *dims: int, **options: Any) -> Part:
    """One part on its own: `part("mixers", "attention", 64, heads=4)`; dims as its family asks."""
    return config(family, {"use": use, **options}).build(*dims)


def share(model: Model) -> None:
    """Let parts that stand for one thing be one module: inherited positions, and the table of both sides."""
    _share_position(model)
    if model.encoder is not None:
        share(model.encoder)
    if model.spec.one_table:
        _share_table(model)


def _share_position(model: Model) -> None:
    """Layers that inherited the model's position use one module, so a learned table is learned once."""
    common = model.spec.position
    seen: dict[tuple[torch.Size, ...], nn.Module] = {}
    for layer, placed in zip(model.trunk.each(), model.trunk.placed, strict=True):
        if common is not None and common.part.common and getattr(placed.layer.mixer, "position", None) == common:
            mixer: Any = layer.mixer
            shapes = tuple(p.shape for p in mixer.position.parameters())
            mixer.position = seen.setdefault(shapes, mixer.position)


def _share_table(model: Model) -> None:
    mine: Any = getattr(model.embed, "table", None)
    other: Any = model.encoder.embed if model.encoder is not None else None
    theirs: Any = getattr(other, "table", None)
    if mine is None or theirs is None or mine.weight.shape != theirs.weight.shape:
        raise InputError("one_table: needs an encoder and a decoder that look tokens up in tables of one shape")
    other.table = mine
