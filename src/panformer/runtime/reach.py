"""What the linear maps of a model read on a sample, and the parts that are fitted to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..core.families import Linear
from ..core.maps import is_plain

A = TypeVar("A")
Reach = Mapping[str, tuple[Tensor, Tensor]]  # the least and the largest number of each input of a map, by its path


def watched(model: nn.Module, run: Callable[[], A]) -> tuple[A, Reach]:
    """(what `run` answers, what each plain map of the model reads on the way)."""
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(path: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def look(module: nn.Module, args: tuple[Any, ...]) -> None:
            x = args[0].detach().flatten(0, -2).float()
            if len(x):
                low, high = x.aminmax(dim=0)
                old = found.get(path, (low, high))
                found[path] = torch.minimum(low, old[0]), torch.maximum(high, old[1])

        return look

    plain = {n: m for n, m in model.named_modules() if is_plain(m)}
    hooks = [m.register_forward_pre_hook(watch(n)) for n, m in plain.items()]
    try:
        return run(), found
    finally:
        for hook in hooks:
            hook.remove()


def fit(model: nn.Module, plain: nn.Module, reach: Reach) -> None:
    """Fit the parts of a model that can be; `plain` is the same model with the maps that they replaced."""
    for path, part in model.named_modules():
        if isinstance(part, Linear) and part.fits and path in reach:
            map = plain.get_submodule(path)
            assert isinstance(map, nn.Linear)
            part.fit(map, *reach[path])
