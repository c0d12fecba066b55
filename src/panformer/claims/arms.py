"""An arm of a comparison is the paper's model and task under one change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.errors import InputError
from ..papers.schema import Change

Tree = dict[str, Any]


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> Tree:
    """`base` with `change` laid over it. Trees merge key by key; a tree with another `use` replaces; null removes."""
    out = dict(base)
    for key, new in change.items():
        old = out.get(key)
        if new is None:
            out.pop(key, None)
        elif isinstance(new, Mapping) and isinstance(old, str | Mapping):
            old = {"use": old} if isinstance(old, str) else old
            other = "use" in new and new["use"] != old.get("use")
            out[key] = dict(new) if other else merge(old, new)
        else:
            out[key] = new
    return out


def spec_of(model: Mapping[str, Any], change: Change, ends: Mapping[str, Any]) -> Tree:
    """The spec of an arm: the task's ends, under the paper's model, under the change."""
    tree = merge(merge(ends, model), change.model)
    if not isinstance(tree.get("schedule"), list):
        raise InputError("model.schedule: a claim's model needs a list of stages")
    if change.layers:
        tree["schedule"] = [_layers(stage, change.layers) for stage in tree["schedule"]]
    return tree


def _layers(stage: Mapping[str, Any], change: Mapping[str, Any]) -> Tree:
    if "pattern" in stage:
        return {**stage, "pattern": [merge(layer, change) for layer in stage["pattern"]]}
    return merge(stage, change)
