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
    plain = _joined(x, maps)
    if plain:
        biases: list[Tensor] = [m.bias for m in plain if m.bias is not None]
        weights: list[Tensor] = [m.weight for m in plain]
        out = product(x, torch.cat(weights), torch.cat(biases) if biases else None)
        return out.split([m.out_features for m in plain], -1)
    kind = type(maps[0])
    if issubclass(kind, Linear) and all(type(m) is kind for m in maps):
        return kind.together(x, maps)
    return tuple(m(x) for m in maps)


def _joined(x: Tensor, maps: tuple[nn.Module, ...]) -> list[Plain]:
    """The maps, if they are plain, nobody watches them one by one, and they gain as one product; else none."""
    plain = [m for m in maps if type(m) is Plain]
    if not torch.is_grad_enabled() or x.device.type != "cpu" or len(plain) < len(maps):
        return []
    few = x.numel() * sum(m.out_features for m in plain) < LEAST
    if few or any((m.bias is None) != (plain[0].bias is None) for m in plain):
        return []
    if any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks for m in plain):
        return []
    if torch.compiler.is_compiling():
        return [] if exporting() else plain
    if torch._C._len_torch_dispatch_stack() or hooks._has_any_global_hook():
        return []
    if torch._C._autograd._top_saved_tensors_default_hooks(True) is not None:
        return []  # whoever changes what is kept knows the weights, not a copy of them
    return plain if all(type(m.weight) is nn.Parameter for m in plain) else []
