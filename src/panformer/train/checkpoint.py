"""A training run on disk: weights, optimizer, random state and position, in one folder that is whole or absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as pack_tensors
from torch import Tensor

from ..core.errors import InputError
from ..model import io
from ..model.io import fill as _fill
from ..model.io import tensors
from ..model.model import Model

__all__ = ["exists", "fill", "load", "save", "tensors"]


def exists(folder: Path) -> bool:
    return (folder / "manifest.json").is_file()


def save(
    folder: Path,
    model: Model,
    optimizer: torch.optim.Optimizer,
    rng: torch.Generator,
    best: Mapping[str, Tensor] | None,
    kept: Mapping[str, Any],
    how: Mapping[str, Any],
) -> None:
    """Publish everything that the next step depends on."""
    pack = {f"model.{n}": t for n, t in tensors(model).items()}
    pack.update({f"best.{n}": t for n, t in (best or {}).items()})
    for i, slot in optimizer.state_dict()["state"].items():
        pack.update({f"optimizer.{i}.{n}": t for n, t in slot.items()})
    pack["random.torch"], pack["random.loop"] = torch.get_rng_state(), rng.get_state()
    state = {"kept": kept, "how": how, "spec": model.spec.hash, "format": io.FORMAT}
    io.publish(folder, {"state.json": json.dumps(state).encode(), "state.safetensors": pack_tensors(pack)})


def load(
    folder: Path, model: Model, optimizer: torch.optim.Optimizer, rng: torch.Generator, how: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor] | None]:
    """Put a run back where it was; refused when spec or options are not those it was made with."""
    io.verify(folder)
    state = io.read_json(folder / "state.json")
    if state["spec"] != model.spec.hash:
        raise InputError(f"{folder}: belongs to another model ({state['spec']}, not {model.spec.hash})")
    changed = sorted(k for k in how if state["how"].get(k) != how[k])
    if changed:
        raise InputError(f"{folder}: was trained with other options: {', '.join(changed)}")
    pack = io.load_tensors(folder / "state.safetensors")
    fill(model, _under(pack, "model."))
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in _under(pack, "optimizer.").items():
        index, key = name.split(".", 1)
        slots.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
    torch.set_rng_state(pack["random.torch"])
    rng.set_state(pack["random.loop"])
    return state["kept"], _under(pack, "best.") or None


def fill(model: Model, values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        _fill(model, values, "checkpoint")


def _under(pack: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in pack.items() if n.startswith(prefix)}
