"""Calls of linear maps that leave room for a faster form of the same thing."""

from __future__ import annotations

from torch import Tensor, nn

from ..core.families import Linear
from .activations import ACTIVATIONS, Activation


def activated(map: nn.Module, x: Tensor, activation: Activation) -> Tensor:
    """act(map(x)), in one operation where the map has one for that: (..., inputs) -> (..., outputs)."""
    if isinstance(map, Linear) and activation in map.fuses:
        return map.fused(x, activation)
    return ACTIVATIONS[activation](map(x))


def together(x: Tensor, *maps: nn.Module) -> tuple[Tensor, ...]:
    """(map(x), ...): maps of one kind may share what they do to x, as 8-bit ones share its rounding."""
    kind = type(maps[0])
    if issubclass(kind, Linear) and all(type(m) is kind for m in maps):
        return kind.together(x, maps)
    return tuple(m(x) for m in maps)
