"""Facts, peers and tasks by name: the path is the registry, as it is for parts."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from ..core.errors import InputError, unknown
from ..core.part import parse
from .tasks._base import Task


def task(tree: Mapping[str, Any]) -> Task:
    """The task of `{use: copy, high: 20}`, from `claims/tasks/<use>.py`."""
    use = tree.get("use")
    known = modules("tasks")
    if use not in known:
        raise unknown("task", str(use), known)
    module = importlib.import_module(f"{__package__}.tasks.{use}")
    own = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Task) and c.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise TypeError(f"claims/tasks/{use}.py must define exactly one task, has {len(own)}")
    return own[0](parse(own[0].Config, {k: v for k, v in tree.items() if k != "use"}, f"task {use}"))


def call(home: str, name: str, seed: int, options: Mapping[str, Any], model: Mapping[str, Any] | None = None) -> Any:
    """`facts` or `peers`: the answer of function `topic.name` for a seed, with the options it declares.

    A function that takes `model` is given the arm's model tree.
    """
    topic, _, short = name.partition(".")
    if topic not in modules(home):
        raise unknown(f"topic of {home}", topic, modules(home))
    module = importlib.import_module(f"{__package__}.{home}.{topic}")
    known = {k: f for k, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__}
    function: Callable[..., Any] | None = known.get(short)
    if function is None or short.startswith("_"):
        raise unknown(home.removesuffix("s"), name, [f"{topic}.{k}" for k in known if not k.startswith("_")])
    takes = [p for p in inspect.signature(function).parameters if p not in ("seed", "model")]
    for key in options:
        if key not in takes:
            raise InputError(f"{name}: {unknown('option', key, takes)}")
    given = {"model": model or {}} if "model" in inspect.signature(function).parameters else {}
    return function(seed=seed, **given, **options)


def modules(home: str) -> list[str]:
    package = importlib.import_module(f"{__package__}.{home}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name[0] != "_")
