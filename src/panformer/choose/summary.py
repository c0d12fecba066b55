"""The data in a few lines: what it is, why it is read so, what is wrong with it. Printed first, kept in the report."""

from __future__ import annotations

from typing import Any

from ..data.base import Dataset
from ..data.raw import counted


def summary(data: Dataset) -> dict[str, Any]:
    """Plain facts of a data set, for the report."""
    task = data.task
    return {
        "name": data.name, "task": task.kind, "measure": task.measure, "hash": data.hash, "inputs": _inputs(data),
        "why": list(data.facts.get("why", [])), "warnings": list(data.facts.get("warnings", [])),
        "rows": data.facts.get("rows"), "split": data.facts.get("split"), "classes": data.facts.get("classes"),
        "lengths": data.facts.get("lengths"), "refused": data.refused[:200], "refused_count": len(data.refused),
    }  # fmt: skip


def lines(facts: dict[str, Any]) -> list[str]:
    """The summary as a person reads it."""
    split = facts["split"] or {}
    told = [f"{facts['name']}: {facts['task']}, scored by {facts['measure']}; {facts['inputs']}"]
    told += [f"  {line}" for line in facts["why"]]
    sizes = " / ".join(str(split.get(name)) for name in ("train", "valid", "test"))
    told.append(f"  split {sizes} (train / valid / test): {split.get('rule')}")
    if facts["classes"]:
        told.append("  classes: " + ", ".join(f"{name} ({n:,})" for name, n in list(facts["classes"].items())[:20]))
    if facts["lengths"]:
        told.append("  lengths: " + ", ".join(f"{name} {n:,}" for name, n in facts["lengths"].items()))
    told += [f"  warning: {line}" for line in facts["warnings"]]
    if facts["refused_count"]:
        told.append(f"  left out: {facts['refused_count']:,}, the first: {facts['refused'][0]}")
    return told


def _inputs(data: Dataset) -> str:
    task = data.task
    if task.kind == "forecasting":
        names = ", ".join(task.columns[:6]) + (" ..." if len(task.columns) > 6 else "")
        steps = f"{task.max_length} steps back, {task.horizon} ahead, season {task.season}"
        return f"{counted(task.channels, 'channel')} ({names}), {steps}"
    if task.reads == "image":
        return f"images of {task.grid[0]} x {task.grid[1]}, {counted(task.channels, 'channel')}"
    if task.reads == "tokens":
        return f"text of {task.vocab:,} different tokens, up to {task.max_length:,} at a time"
    if task.vocab:
        return f"table rows of {counted(len(task.columns), 'column')}"
    return f"sequences of {counted(task.channels, 'channel')}, up to {task.max_length} frames"
