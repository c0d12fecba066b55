"""What stands around the mixers: how a task's input becomes tokens, and its answer is read off them.

A form is an embed with the head that fits it. Its sizes come from the task alone, so that a spec written for a
task always fits the data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.families import Position
from ..core.part import find, known
from ..data.base import Task

FEWEST, MOST = 4, 256  # patches of an image
TAKES = 128  # frames from which windows are worth trying
PLACES = {"image": ("learned", "sinusoidal", "rope"), "": ("rope", "alibi", "t5", "learned", "sinusoidal")}


@dataclass(frozen=True)
class Form:
    """One way to read the data."""

    embed: Mapping[str, Any]
    head: Mapping[str, Any]
    tokens: int  # the longest sequence that the mixers see
    ordered: bool = True  # whether tokens have places, so that positions mean something
    lattice: bool = False


def forms(task: Task) -> dict[str, Form]:
    """All forms of a task by name, the best guess first."""
    made = {"table": _table, "tokens": _text, "image": _images, "values": _frames}
    kind = "table" if task.reads == "values" and task.vocab else task.reads
    return _series(task) if task.kind == "forecasting" else made[kind](task)


def objective(task: Task) -> dict[str, Any]:
    """What training minimises: the loss nearest to the task's measure."""
    made: dict[str, dict[str, Any]] = {
        "classification": {"use": "classify"}, "regression": {"use": "regress"},
        "forecasting": {"use": "forecast", "kind": "mae"}, "language": {"use": "causal_lm"},
    }  # fmt: skip
    return made[task.kind]


def head(task: Task) -> dict[str, Any]:
    """The head of every task but forecasting, where it depends on the form."""
    made: dict[str, dict[str, Any]] = {
        "classification": {"use": "classify", "classes": len(task.classes)},
        "regression": {"use": "regress"},
        "language": {"use": "lm", "vocab": task.vocab},
    }
    return made[task.kind]


def spec(task: Task, mixer: str, choice: Mapping[str, Any]) -> dict[str, Any]:
    """The model of one choice: form, position, width, depth, dropout, and the mixer's own options."""
    form = forms(task)[choice["form"]]
    options = {"heads": choice["heads"]} if "heads" in choice else {}
    layer = {"mixer": {"use": mixer, **options}, "channel": {"use": "mlp", "ratio": 2}}
    tree: dict[str, Any] = {
        "name": f"{mixer} {choice['form']}", "width": choice["width"], "causal": task.kind == "language",
        "dropout": choice["dropout"], "embed": dict(form.embed), "head": dict(form.head), "objective": objective(task),
        "schedule": [{"repeat": choice["depth"], **layer}],
    }  # fmt: skip
    if choice["position"] != "none":
        tree["position"] = place(choice["position"], form, tree["causal"])
    if choice["position"] == "sinusoidal" and "scale" in find("embeds", form.embed["use"]).Config.model_fields:
        tree["embed"]["scale"] = True  # or its waves of 1 would drown what is looked up
    return tree


def place(use: str, form: Form, causal: bool) -> dict[str, Any]:
    """A position part with the options that the data decides."""
    fields = find("positions", use).Config.model_fields
    options: dict[str, Any] = {"use": use}
    if "length" in fields:
        options["length"] = form.tokens
    if "two_sided" in fields:
        options["two_sided"] = not causal
    return options


def places(task: Task, kinds: frozenset[str]) -> list[str]:
    """Positions worth trying with a mixer that takes these kinds: those, and vectors added to the input."""
    names = [p for p in PLACES.get(task.reads, PLACES[""]) if p in known("positions")]
    return ["none", *(p for p in names if _kind(p) in kinds | {"add"})]


def _kind(use: str) -> str:
    part = find("positions", use)
    assert issubclass(part, Position)
    return part.kind


def _table(task: Task) -> dict[str, Form]:
    embed = {"use": "columns", "columns": len(task.columns), "categories": task.vocab}
    return {"columns": Form(embed, head(task), len(task.columns), ordered=False)}


def _text(task: Task) -> dict[str, Form]:
    return {"tokens": Form({"use": "tokens", "vocab": task.vocab}, head(task), task.max_length)}


def _images(task: Task) -> dict[str, Form]:
    """Square patches, and overlapping ones with the same number of tokens; the four nearest to 32 tokens."""
    counts = {size: (task.grid[0] // size) * (task.grid[1] // size) for size in range(1, min(task.grid) + 1)}
    sizes = [size for size, count in counts.items() if FEWEST <= count <= MOST] or [min(task.grid)]
    whole = [size for size in sizes if all(side % size == 0 for side in task.grid)]
    sizes = sorted(whole or sizes, key=lambda size: (round(abs(math.log(counts[size] / 32)), 6), -size))
    found: dict[str, Form] = {}
    for size in sizes:
        base = {"use": "patches", "channels": task.channels}
        if whole:
            found[f"patches {size}"] = Form({**base, "size": size}, head(task), counts[size], lattice=True)
        if size > 1:
            over = {**base, "size": 2 * size - 1, "stride": size, "padding": size // 2}
            cells = [(side + 2 * (size // 2) - 2 * size + 1) // size + 1 for side in task.grid]
            found[f"patches {2 * size - 1}/{size}"] = Form(over, head(task), cells[0] * cells[1], lattice=True)
    return dict(list(found.items())[:4])


def _frames(task: Task) -> dict[str, Form]:
    """Every frame a token; of long sequences also every 4 frames one."""
    found = {"frames": Form({"use": "frames", "channels": task.channels}, head(task), task.max_length)}
    if task.max_length >= TAKES:
        embed = {"use": "windows", "size": 4, "channels": task.channels}
        found = {"windows 4": Form(embed, head(task), -(-task.max_length // 4)), **found}
    return found


def _series(task: Task) -> dict[str, Form]:
    """Windows of the past, read side by side; with several channels also one token per channel."""
    found: dict[str, Form] = {}
    past, steps = task.max_length, {"use": "forecast", "horizon": task.horizon, "channels": task.channels}
    for share in (12, 6):
        size = max(1, past // share)
        count = -(-max(past - size, 0) // size) + 1
        embed = {"use": "windows", "size": size, "channels": task.channels, "normalise": "instance"}
        found[f"windows {size}"] = Form(embed, {**steps, "pool": "flat", "tokens": count}, count)
    if task.channels > 1:
        embed = {"use": "variates", "length": past}
        found["variates"] = Form(embed, {**steps, "pool": "token"}, task.channels, ordered=False)
    return found
