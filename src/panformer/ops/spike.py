"""Leaky integrate-and-fire neurons: a potential that fades, grows with its input, and is taken down by each spike.

v_t = decay v_{t-1} + x_t; s_t = 1 where v_t >= threshold, else 0; then v_t loses the threshold for each spike, or all
of it. The step has no gradient; in training it is given that of sigmoid(4 (v / threshold - 1)), and none passes through
what a spike takes. Neftci et al. 2019, Surrogate gradient learning in spiking neural networks; the surrogate and the
detached reset are those of Fang et al. 2023, SpikingJelly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.layout import Layout
from .backend import Operator
from .check import Draw, mixed
from .kernels.spike_adjoint import ADJOINT, SHARP, Neuron, Reset, told
from .scan import loop

__all__ = ["Neuron", "Reset", "fire", "step"]
Pair = tuple[Tensor, Tensor]


def step(z: Tensor, slope: bool) -> Tensor:
    """1 where z >= 0, else 0; with `slope` its gradient is that of sigmoid(4 z), else 0."""
    hard = (z >= 0).to(z.dtype)
    if not slope:
        return hard
    soft = torch.sigmoid(SHARP * z)
    return hard + (soft - soft.detach())


def reference(x: Tensor, n: Neuron, at: Layout, v: Tensor | None, slope: bool) -> Pair:
    """x (B, T, D) without junk at padding -> spikes (B, T, D) of 0 and 1, 0 at padding, and the last potential (B, D).

    With v, the potential so far, each row is the next tokens of one sequence; without it every sequence starts from 0.
    Padding, anywhere, leaves it as it is. Potentials are of float32 at least; spikes come back in the type of x.
    """
    xs, before = told(x, n, at, v)
    path = []
    for t in range(x.shape[1]):
        before, s = _advance(before, tuple(z[:, t] for z in xs), n, slope)
        path.append(s)
    return torch.stack(path, 1).to(x.dtype), before


def traced(x: Tensor, n: Neuron, at: Layout, v: Tensor | None, slope: bool) -> Pair:
    """`reference` with its loop over time as one operation of the graph, for any number of tokens."""
    xs, before = told(x, n, at, v)

    def advance(before: Pair, now: tuple[Tensor, ...]) -> Pair:
        return _advance(before[0], now, n, slope)

    (last, _), (_, spikes) = loop(advance, (before, torch.zeros_like(before)), xs)
    return spikes.to(x.dtype), last


def _advance(v: Tensor, now: tuple[Tensor, ...], n: Neuron, slope: bool) -> Pair:
    new, keep, real = now
    v = keep * v + new
    s = step((v - n.threshold) / n.threshold, slope) * real
    taken = s.detach()
    return (v - n.threshold * taken if n.reset == "subtract" else v * (1 - taken)), s


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    at, draw = mixed(device), Draw(device, dtype)
    return at.clean(draw(at.batch, at.length, 3)), Neuron(0.8, 0.7), at, None, True


fire = Operator("spike", reference, ADJOINT, traced=traced, sample=sample)
