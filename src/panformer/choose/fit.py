"""`panformer train`: one spec on one data set, resumable, ending in a model folder that predict and eval read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..core.errors import InputError
from ..core.families import Embed
from ..core.part import Config, find
from ..core.spec import Spec, read
from ..data.base import Dataset, Task
from ..measure.quality import quality
from ..model import io
from ..model.build import build
from ..train import checkpoint
from ..train.interrupt import Interrupted
from ..train.loop import Fit, Train, compute
from . import forms, saved, trial
from .propose import sample
from .report import replace_file

GOALS = {
    "classification": ("classify",),
    "regression": ("regress",),
    "forecasting": ("forecast",),
    "language": ("causal_lm",),
}


def fitted(tree: dict[str, Any], data: Dataset) -> Spec:
    """The spec with embed, head and objective of the task where it has none; its sizes must be those of the data."""
    if not isinstance(tree, dict):
        raise InputError("spec: a mapping is needed, with keys such as width and schedule")
    task = data.task
    form = next(iter(forms.forms(task).values()))
    tree = {"embed": dict(form.embed), "head": dict(form.head), "objective": forms.objective(task), **tree}
    tree = {
        **tree,
        **{n: v for n, v in (("head", dict(form.head)), ("objective", forms.objective(task))) if tree[n] is None},
    }
    spec = read(tree)
    embed = find("embeds", spec.embed.part.use())
    assert issubclass(embed, Embed)
    if embed.reads != task.reads:
        raise InputError(f"embed: {embed.use()!r} reads {embed.reads}, the data holds {task.reads}")
    assert spec.head is not None and spec.objective is not None
    _check("embed", spec.embed, _sizes(task))
    any_channels = getattr(spec.head, "pool", None) == "token"  # a head per token reads as many channels as there are
    _check("head", spec.head, _sizes(task) | ({"channels": 0} if any_channels else {}))
    if spec.objective.part.use() not in GOALS[task.kind]:
        raise InputError(
            f"objective: {spec.objective.part.use()!r} does not fit {task.kind}; right is {GOALS[task.kind][0]!r}"
        )
    if task.kind == "language" and not spec.causal:
        raise InputError("causal: a language model must be causal; --set causal=true")
    model, rows = build(spec, seed=0), sample(data, 2)
    compute(
        model, spec.objective.build(), rows, torch.Generator().manual_seed(0)
    )  # shapes that do not fit are refused here
    return spec


def _sizes(task: Task) -> dict[str, int]:
    """Option names of embeds and heads that the data decides; 0: it has no say."""
    table = task.reads == "values" and task.vocab
    return {
        "vocab": 0 if table else task.vocab, "categories": task.vocab if table else 0,
        "channels": 0 if table else task.channels, "columns": len(task.columns) if table else 0,
        "classes": len(task.classes), "horizon": task.horizon,
    }  # fmt: skip


def _check(slot: str, config: Config, sizes: dict[str, int]) -> None:
    for name, right in sizes.items():
        has = getattr(config, name, None)
        enough = has is not None and has >= right if name in ("vocab", "categories") else has == right
        if has is not None and right and not enough:
            raise InputError(f"{slot}.{name} is {has}, the data has {right}; --set {slot}.{name}={right}")


def train(
    tree: dict[str, Any],
    data: Dataset,
    wishes: dict[str, Any],
    how: Train,
    out: Path,
    resume: bool,
    say: Callable[[str, float], None],
) -> dict[str, Any]:
    """Train into `out`: checkpoint/ while it runs, then model/ and train.json. Returns what train.json holds."""
    spec = fitted(tree, data)
    work = out / "checkpoint"
    if resume != checkpoint.exists(work):
        told = (
            "holds no checkpoint to resume"
            if resume
            else "holds an earlier run; go on with --resume or give another --out"
        )
        raise InputError(f"{out}: {told}")
    if not resume and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is not empty; give another --out")
    model = build(spec, seed=how.seed)

    def watch(done: Fit, how: Train) -> None:
        if done.checks and done.checks[-1][0] == done.steps:
            valid = f"validation {data.task.measure} {done.checks[-1][1]:.4f}"
            say(f"step {done.steps} of {how.steps}: loss {done.losses[-1]:.4f}, {valid}", done.steps / how.steps)

    many = trial.rows_at_once(data)
    try:
        fit = trial.run(model, data, how, lambda m: quality(m, data, "valid", many).measure, work, watch)
    except Interrupted as stop:
        raise Interrupted(f"{stop} with --resume") from None
    found = quality(model, data, "test", many)
    report = {
        "data": data.name, "measure": data.task.measure, "valid": fit.best, "test": found.measure,
        "further": found.further,
        "steps": fit.steps, "ended": fit.ended, "seconds": fit.seconds, "spec": spec.hash, "how": how.model_dump(),
        "curve": trial.curve(fit),
    }  # fmt: skip
    saved.write(out / "model", model, data, wishes)
    replace_file(out / "train.json", json.dumps(report, indent=1) + "\n")
    io.verify(out / "model")
    return report
