"""From a spec to a model: the only door through which parts meet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import InputError, check_type
from ..core.families import Channel, Mixer
from ..core.layout import Layout
from ..core.part import Part, config
from ..core.spec import Spec, read, resolve
from .model import Model


def build(spec: str | Path | Mapping[str, Any] | Spec, seed: int | None = None) -> Model:
    """The model of a spec: a tree, a file, or a preset name. The same seed gives the same weights.

    Without a seed, weights are drawn from torch's global generator.
    """
    if seed is not None:
        check_type("build: seed", seed, int)
    resolved = resolve(read(spec))
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        model = Model(resolved)
    share(model)
    return model


def part(family: str, use: str, *dims: int, **options: Any) -> Part:
    """One part on its own: `part("mixers", "attention", 64, heads=4)`; dims as its family asks.

    A mixer or channel network on its own refuses an x that is not laid out as the layout says; within a model the model does.
    """
    for dim in dims:
        if not isinstance(dim, int) or dim < 1:
            raise InputError(f"{family}/{use}: a width is a whole number from 1 on, not {dim!r}")
    made = config(family, {"use": use, **options}).build(*dims)
    if isinstance(made, Mixer | Channel):
        made.register_forward_pre_hook(_fits)
    return made


def _fits(made: nn.Module, given: tuple[Any, ...]) -> None:
    """x (B, T, D) of what a part alone is called with has a token for every place of the layout."""
    if len(given) > 1 and isinstance(given[0], Tensor) and isinstance(given[1], Layout):
        x, at = given[:2]
        if x.ndim != 3 or x.shape[:2] != (at.batch, at.length):
            told = f"a layout of {at.batch} x {at.length} tokens needs x of shape ({at.batch}, {at.length}, width)"
            raise InputError(f"{type(made).__name__}: {told}, not {tuple(x.shape)}")


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
