"""A trained model with fewer keys and values: those of merged heads and layers are averaged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.spec import Spec
from ..model.build import build
from ..model.model import Model

MAPS = ("k.weight", "k.bias", "v.weight", "v.bias", "k_norm.weight")


def pool_keys(model: Model, spec: str | Path | Mapping[str, Any] | Spec) -> Model:
    """The model of `spec`, every map of keys or values the mean of those it replaces, all else as it was in `model`.

    `spec` differs in how many `kv_heads` its mixers have and in which layers read another's (`reads: {kv: name}`): a
    head replaces the heads of its group, in its own layer and in all that read it. Such a model is a start for some
    more training. Ainslie et al. 2023 (heads); Zuhri et al. 2024, MLKV (layers).
    """
    if any(p.reads for p in model.trunk.placed):
        raise InputError("pool_keys: layers of this model share keys and values already")
    new = build(spec).to(next(model.parameters()).dtype)
    if len(new.trunk.placed) != len(model.trunk.placed):
        raise InputError(f"pool_keys: {len(model.trunk.placed)} layers cannot become {len(new.trunk.placed)}")
    old, state = model.state_dict(), new.state_dict()
    counts = {name for name, _ in new.named_buffers()}
    for name, like in state.items():
        if name in old or name not in counts:  # what only the new parts count begins anew
            state[name] = _pooled(name, like, old, new)
    new.load_state_dict(state)
    return new.train(model.training)


def _pooled(name: str, like: Tensor, old: Mapping[str, Tensor], new: Model) -> Tensor:
    """What stands under this name in the new model."""
    sources: list[str] = [name]
    heads: Any = None
    path = name.split(".", 4)  # trunk, layers, 3, mixer, k.weight
    if path[:2] == ["trunk", "layers"] and path[3:4] == ["mixer"] and path[4] in MAPS:
        layer, placed = int(path[2]), new.trunk.placed
        readers = [str(i) for i, p in enumerate(placed) if p.reads.get("kv") == layer]
        sources += [".".join(("trunk", "layers", i, "mixer", path[4])) for i in readers]
        heads = new.trunk.each()[layer].mixer
    found = [old[s] for s in sources if s in old]
    if len(found) == len(sources) and all(f.shape == like.shape for f in found):
        return torch.stack(found).mean(0)
    fit = heads is not None and all(f.shape[1:] == like.shape[1:] and len(f) % len(like) == 0 for f in found)
    if len(found) < len(sources) or not fit:
        shapes = ", ".join(str(tuple(f.shape)) for f in found)
        raise InputError(f"pool_keys: {name} of shape {tuple(like.shape)} cannot be made of {shapes or 'nothing'}")
    mean = torch.stack(found).mean(0)
    return mean.unflatten(0, (heads.groups, -1, heads.size)).mean(1).flatten(0, 1)  # a group's heads stand in a row
