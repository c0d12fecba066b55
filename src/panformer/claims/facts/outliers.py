"""Facts about large activations of text models, and what rounding to few bits costs them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...model.model import Model
from ...papers.schema import Change
from .. import registry
from ..arms import spec_of
from .lending import trained

Tree = Mapping[str, Any]
Range = tuple[float, float]


def largest(seed: int, model: Tree, steps: int, length: int = 64) -> float:
    """The largest number in the residual stream after any layer, on unseen text."""
    return max(float(x.abs().max()) for x in _streams(_net(seed, model, steps, length), length))


def kurtosis(seed: int, model: Tree, steps: int, length: int = 64) -> float:
    """E[(x - mean)^4] / var^2 of the numbers in the residual stream, averaged over layers; 3 for normal ones."""
    found = []
    for x in _streams(_net(seed, model, steps, length), length):
        apart = x.double() - x.double().mean()
        found.append(float(apart.pow(4).mean() / apart.square().mean().square()))
    return sum(found) / len(found)


def zeros(seed: int, model: Tree, steps: int, length: int = 64) -> float:
    """The share of visible keys that weigh exactly 0, on unseen text; of models whose attention has a normaliser."""
    net, nothing, visible = _net(seed, model, steps, length), 0, 0

    def count(m: nn.Module, args: tuple[Tensor, ...], weight: Tensor) -> None:
        nonlocal nothing, visible
        keep = args[1].expand_as(weight)
        nothing, visible = nothing + int((keep & (weight == 0)).sum()), visible + int(keep.sum())

    layers: list[Any] = list(net.trunk.each())
    hooks = [layer.mixer.normaliser.register_forward_hook(count) for layer in layers]
    _streams(net, length)
    for hook in hooks:
        hook.remove()
    return nothing / visible


def loss(seed: int, model: Tree, steps: int, length: int = 64) -> float:
    """Bits per byte on unseen text, nothing rounded."""
    return registry.task({"use": "text", "length": length}).measure(_net(seed, model, steps, length), seed)


def lost(seed: int, model: Tree, steps: int, bits: int = 8, length: int = 64) -> float:
    """Bits per byte that are added when weights and activations are rounded to so many bits, after training.

    One range per tensor: symmetric for every matrix of the layers, from the least to the largest number seen on 16
    training texts for what a linear map reads or answers and for the residual stream after every layer. The table of
    embeddings and the head stay exact.
    """
    task, net = registry.task({"use": "text", "length": length}), copy.deepcopy(_net(seed, model, steps, length))
    exact, ranges = task.measure(net, seed), _calibrated(net, task.batch(torch.Generator().manual_seed(seed), 16).x)
    with torch.no_grad():
        for m in _maps(net):
            step = m.weight.abs().max() / (2 ** (bits - 1) - 1)
            m.weight.copy_((m.weight / step).round() * step)
    with _watched(net, lambda name, x: _rounded(x, ranges[name], bits)):
        return task.measure(net, seed) - exact


def _rounded(x: Tensor, span: Range, bits: int) -> Tensor:
    """x on 2^bits equal levels from low to high, 0 one of them; what lies beyond is cut."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    step = max(high - low, 1e-12) / (2**bits - 1)
    zero = round(-low / step)
    return ((x / step).round() + zero).clamp(0, 2**bits - 1).sub(zero) * step


def _calibrated(net: Model, x: Tensor) -> dict[str, Range]:
    found: dict[str, Range] = {}

    def note(name: str, y: Tensor) -> Tensor:
        low, high = found.get(name, (torch.inf, -torch.inf))
        found[name] = (min(low, float(y.min())), max(high, float(y.max())))
        return y

    with torch.no_grad(), _watched(net, note):
        net(x)
    return found


def _streams(net: Model, length: int) -> list[Tensor]:
    """What every layer leaves in the residual stream, on 64 unseen texts."""
    x = registry.task({"use": "text", "length": length}).test(torch.Generator().manual_seed(0), 64).x
    out: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda m, args, y: out.append(y)) for layer in net.trunk.each()]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return out


@contextmanager
def _watched(net: Model, see: Callable[[str, Tensor], Tensor]) -> Iterator[None]:
    """`see(name, x)` stands for every x that a linear map of the layers reads or answers, or a layer leaves."""
    hooks = []
    for i, m in enumerate(_maps(net)):
        hooks.append(m.register_forward_pre_hook(lambda m, args, i=i: (see(f"{i} reads", args[0]),)))
        hooks.append(m.register_forward_hook(lambda m, args, y, i=i: see(f"{i} answers", y)))
    for i, layer in enumerate(net.trunk.each()):
        hooks.append(layer.register_forward_hook(lambda m, args, y, i=i: see(f"layer {i}", y)))
    yield
    for hook in hooks:
        hook.remove()


def _maps(net: Model) -> list[nn.Linear]:
    return [m for m in net.trunk.modules() if isinstance(m, nn.Linear)]


def _net(seed: int, model: Tree, steps: int, length: int) -> Model:
    """The arm's model after training on text; nobody may write to it."""
    task = {"use": "text", "length": length}
    return trained(
        seed, json.dumps(spec_of(model, Change(), registry.task(task).ends())), steps, json.dumps(task)
    ).eval()
