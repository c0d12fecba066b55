"""Which models are worth trying on this data: every mixer whose declared contract fits, and why the others do not.

What fits is read off the classes (causal, lattice, needs, positions, growth) and off one small forward and
backward pass on two real rows. Nothing here knows a mixer by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..core.errors import InputError, unknown
from ..core.families import Mixer
from ..core.memory import installed
from ..core.part import find, known
from ..data.base import Dataset
from ..data.batch import Batch, Batches
from ..measure import cost
from ..measure.quality import window
from ..model.build import build
from ..model.model import Model
from ..train.loop import compute
from . import forms
from .options import Limits

TRACED = 256  # longest input that costs are counted on; longer ones follow from the declared growth
EXPONENT = {"n": 1.0, "n log n": 1.2, "n^(4/3)": 4 / 3, "n^1.5": 1.5, "n^2": 2.0}
MEMORY = 0.25  # share of the machine's memory that one training step may hold
SMALL = 500  # examples under which only small models are tried


@dataclass(frozen=True)
class Family:
    """One mixer and what may vary around it. `default` is tried first; `least` is the smallest choice."""

    mixer: str
    space: Mapping[str, tuple[Any, ...]]
    rate: tuple[float, float]
    default: Mapping[str, Any]
    least: Mapping[str, Any]


@dataclass(frozen=True)
class Proposal:
    families: dict[str, Family]
    excluded: dict[str, str]  # mixer, position or form -> why
    batch: int  # rows of a training step


def asked(include: tuple[str, ...], exclude: tuple[str, ...]) -> list[str]:
    """The mixers that are wished for. Raises InputError where a name is unknown."""
    every = known("mixers")
    for name in (*include, *exclude):
        if name not in every:
            raise unknown("mixer", name, every)
    return [n for n in every if n not in exclude and (not include or n in include)]


def propose(data: Dataset, limits: Limits, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> Proposal:
    """Every mixer that fits. Raises InputError where a name is unknown or nothing is left."""
    every, wished = known("mixers"), asked(include, exclude)
    batch = 4 if data.task.kind == "language" else 32 if len(data.train) < 5000 else 64
    families: dict[str, Family] = {}
    excluded: dict[str, str] = {}
    for name in every:
        if name not in wished:
            excluded[name] = "left out by --exclude" if name in exclude else "not named by --include"
            continue
        try:
            families[name] = _family(data, name, limits, batch, excluded)
        except InputError as fault:
            excluded[name] = str(fault)
    if not families:
        first = (wished or every)[0]
        raise InputError(f"no mixer fits this data; {first}: {excluded[first]}")
    return Proposal(families, excluded, batch)


def sample(data: Dataset, size: int) -> Batch:
    """The first rows of the training split, in its own order."""
    feed = Batches(data.train, data.task, size, tokens=window(data.task))
    return feed.batch(range(min(size, len(feed.inputs))))


def _family(data: Dataset, name: str, limits: Limits, batch: int, excluded: dict[str, str]) -> Family:
    """What may vary around this mixer; raises InputError with the reason where it does not fit."""
    mixer = find("mixers", name)
    assert issubclass(mixer, Mixer)
    every = forms.forms(data.task)
    usable = {n: f for n, f in every.items() if f.lattice or not mixer.lattice}
    if mixer.needs:
        raise InputError(f"needs {', '.join(mixer.needs)} from an encoder, which models of this task do not have")
    if not usable:
        raise InputError("works on a lattice of patches, and this data has none")
    small = len(data.train) < SMALL and data.task.kind != "language"
    space: dict[str, tuple[Any, ...]] = {
        "width": (16, 32, 64) if small else (32, 64, 96, 128),
        "depth": (1, 2) if small else (1, 2, 3, 4),
        "dropout": (0.0, 0.1, 0.2),
    }
    if "heads" in mixer.Config.model_fields:
        space["heads"] = (2, 4)
    least = {n: v[0] for n, v in space.items()} | {"position": "none"}
    rows = sample(data, 2)
    space["form"] = tuple(
        n for n in usable if _works(data, name, {**least, "form": n}, rows, excluded, f"{name} on {n}")
    )
    if not space["form"]:
        raise InputError(excluded.pop(f"{name} on {next(iter(usable))}"))
    ordered = [n for n in space["form"] if every[n].ordered]
    places = forms.places(data.task, mixer.positions) if ordered else ["none"]
    tried = {p: {**least, "form": ordered[0], "position": p} for p in places[1:]}
    space["position"] = (
        "none",
        *(p for p, c in tried.items() if _works(data, name, c, rows, excluded, f"{name} with {p}")),
    )
    default = {
        **{n: v[min(1, len(v) - 1)] for n, v in space.items()},
        "form": space["form"][0], "dropout": 0.1 if small else 0.0, "rate": 3e-3,
    }  # fmt: skip
    if not every[default["form"]].ordered:
        default["position"] = "none"
    smallest = {**least, "form": space["form"][0], "rate": default["rate"]}
    if not limits.free:
        counted = costs(build(forms.spec(data.task, name, smallest), seed=0), sample(data, 1))
        if said := limits.says(counted):
            raise InputError(f"even its smallest model: {said} (by the cost model)")
    if every[default["form"]].tokens > TRACED:
        _check_training(build(forms.spec(data.task, name, default), seed=0), sample(data, 1), batch)
    return Family(name, space, (5e-4, 1e-2), default, smallest)


def _works(
    data: Dataset, name: str, choice: Mapping[str, Any], rows: Batch, excluded: dict[str, str], what: str
) -> bool:
    """One training step of the smallest model on two rows; the reason goes to `excluded` where a part refuses."""
    try:
        model = build(forms.spec(data.task, name, choice), seed=0)
        assert model.spec.objective is not None
        loss = compute(model, model.spec.objective.build(), rows, torch.Generator().manual_seed(0))[0]["loss"]
        loss.backward()
    except InputError as fault:
        excluded[what] = str(fault)
        return False
    except (
        RuntimeError,
        ValueError,
        IndexError,
        NotImplementedError,
    ) as fault:  # a fault of the part: told, not hidden
        excluded[what] = f"failed on two rows: {type(fault).__name__}: {' '.join(str(fault).split())[:200]}"
        return False
    return True


def costs(model: Model, rows: Batch) -> dict[str, float]:
    """What the cost model counts for one call on these rows: MB of size and peak memory, MFLOP."""
    longest = rows.x.shape[1]
    cut = rows.x if model.embed.reads == "image" or not _cuttable(model) else rows.x[:, :TRACED]
    found = cost.trace(model, cut)
    growth = max((EXPONENT[m.growth] for m in model.modules() if isinstance(m, Mixer)), default=1.0)
    more = (longest / cut.shape[1]) ** growth if cut.shape[1] < longest else 1.0
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    return {
        "parameters": float(found.parameters), "mflop": found.flops * more / 1e6, "size_mb": size / 1e6,
        "memory_mb": (size + found.peak * more) / 1e6, "training_mb": (4 * size + found.saved * more) / 1e6,
    }  # fmt: skip


def _cuttable(model: Model) -> bool:
    """Whether a shorter input makes sense: not where the head or embed counts on one length."""
    return getattr(model.head, "tokens", None) is None and not hasattr(model.embed, "length")


def _check_training(model: Model, row: Batch, batch: int) -> None:
    """Refuse a mixer whose training step would not fit the memory, before it is tried."""
    need, have = costs(model, row)["training_mb"] * batch, MEMORY * installed() / 1e6
    if need > have:
        raise InputError(
            f"a training step of {batch} rows holds about {need:,.0f} MB, a quarter of the memory is {have:,.0f} MB"
        )
