"""Calls of linear maps that leave room for a faster form of the same thing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from ..core.families import Linear, Plain
from ..core.layout import exporting
from ..core.product import LEAST, product
from .activations import ACTIVATIONS, Activation


def activated(map: nn.Module, x: Tensor, activation: Activation) -> Tensor:
    """act(map(x)), in one operation where the map has one for that: (..., inputs) -> (..., outputs)."""
    if isinstance(map, Linear) and activation in map.fuses:
        return map.fused(x, activation)
    return ACTIVATIONS[activation](map(x))


def together(x: Tensor, *maps: nn.Module) -> tuple[Tensor, ...]:
    """(map(x), ...): maps of one kind may share what they do to x, as 8-bit ones share its rounding.

    Plain maps in training on a CPU are one product: x is read and rounded once, and so is the slope that comes back.
    """
    kind = type(maps[0])
    if _joined(x, maps):
        bias = None if maps[0].bias is None else torch.cat([m.bias for m in maps])
        out = product(x, torch.cat([m.weight for m in maps]), bias)
        return out.split([len(m.weight) for m in maps], -1)
    if issubclass(kind, Linear) and all(type(m) is kind for m in maps):
        return kind.together(x, maps)
    return tuple(m(x) for m in maps)


def _joined(x: Tensor, maps: tuple[nn.Module, ...]) -> bool:
    """Whether plain maps, which nobody watches one by one, gain as one product."""
    if not torch.is_grad_enabled() or x.device.type != "cpu" or any(type(m) is not Plain for m in maps):
        return False
    if x.numel() * sum(len(m.weight) for m in maps) < LEAST or len({m.bias is None for m in maps}) > 1:
        return False
    if any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks for m in maps):
        return False
    if torch.compiler.is_compiling():
        return not exporting()
    if torch._C._len_torch_dispatch_stack() or hooks._has_any_global_hook():
        return False
    return all(type(m.weight) is nn.Parameter for m in maps)
