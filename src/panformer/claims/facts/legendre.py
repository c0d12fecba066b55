"""Facts about Legendre memories and spiking neurons, in float64: fast forms against what is written, token by token."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ...core.errors import require
from ...core.layout import Layout
from ...model.build import build
from ...ops.kernels.linear_system_blocks import BLOCKS
from ...ops.kernels.linear_system_fft import FFT
from ...ops.legendre import held, legendre
from ...ops.linear_system import reference
from ...ops.spike import Neuron, Reset, fire
from ...runtime.running import Running
from ..arms import merge

Sides = tuple[list[Tensor], list[Tensor]]
ENDS = {"embed": {"use": "tokens", "vocab": 18}, "head": {"use": "classify", "classes": 10}}


def discrete(seed: int, order: int = 64, window: float = 64, hold: bool = True) -> Sides:
    """The system of one token and what scipy makes of the matrices as the paper writes them.

    `hold: false` takes one step of Euler's method instead, which must not be equal.
    """
    signal, rows = require("scipy.signal", "choose"), range(order)
    rate = [(2 * i + 1) / window for i in rows]
    a = torch.tensor(
        [[rate[i] * (-1 if i < j else (-1) ** (i - j + 1)) for j in rows] for i in rows], dtype=torch.float64
    )
    b = torch.tensor([[rate[i] * (-1) ** i] for i in rows], dtype=torch.float64)
    want = signal.cont2discrete((a.numpy(), b.numpy(), a[:1].numpy(), b[:1].numpy()), 1.0, "zoh")
    found = held(*legendre(order, window)) if hold else (torch.eye(order, dtype=torch.float64) + a, b[:, 0])
    return list(found), [torch.from_numpy(want[0]), torch.from_numpy(want[1])[:, 0]]


def memory(
    seed: int, form: Literal["fft", "blocks"] = "fft", order: int = 32, length: int = 300, fades: bool = True
) -> Sides:
    """A memory by Fourier transforms or in blocks, and by the recurrence: all of it, the last one and the gradient.

    `fades: false` leaves the memory as it is in the recurrence, which must not be equal.
    """
    rng = torch.Generator().manual_seed(seed)
    u, at = torch.randn(2, length, 2, generator=rng, dtype=torch.float64), Layout.dense(2, length)
    a, b = held(*legendre(order, 50.0))
    sides = []
    for run, rate in (
        ({"fft": FFT, "blocks": BLOCKS}[form].run, a),
        (reference, a if fades else torch.eye(order).double()),
    ):
        leaf = u.clone().requires_grad_()
        m, last = run(leaf, rate, b, at, None)
        sides.append([m, last, *torch.autograd.grad(m.sin().sum(), leaf)])
    return sides[0], sides[1]


def spikes(seed: int, reset: Reset = "subtract", length: int = 20, reaches: bool = True) -> Sides:
    """Spikes and their gradient, and both number by number: the slope of sigmoid(4 (v / threshold - 1)) at t, times the
    decay since s and what spikes left.

    `reaches: false` lets an input reach its own token alone, which must not be equal.
    """
    rng = torch.Generator().manual_seed(seed)
    n, x = Neuron(0.7, 0.8, reset), torch.randn(1, length, 3, generator=rng, dtype=torch.float64).requires_grad_()
    found, _ = fire(x, n, Layout.dense(1, length), None, True)
    push = torch.randn(found.shape, generator=rng, dtype=torch.float64)
    want, slope = torch.zeros_like(found), torch.zeros_like(found)
    for c in range(3):
        v = 0.0
        left: list[float] = []  # of what each token put into the potential, as it stands now
        for t in range(length):
            v = n.decay * v + float(x.detach()[0, t, c])
            left = [n.decay * z if reaches else 0.0 for z in left] + [1.0]
            p = 1 / (1 + math.exp(-4 * (v / n.threshold - 1)))
            s = float(v >= n.threshold)
            want[0, t, c] = s
            for at, z in enumerate(left):
                slope[0, at, c] += push[0, t, c] * 4 / n.threshold * p * (1 - p) * z
            v = v - n.threshold * s if reset == "subtract" else v * (1 - s)
            left = [z * (1 - s) if reset == "zero" else z for z in left]
    return [found, *torch.autograd.grad((found * push).sum(), x)], [want, slope]


def stopped(seed: int, model: Mapping[str, Any], length: int = 64, stop: int = 45, goes_on: bool = True) -> Sides:
    """The answer of a running model after `stop` tokens that came in pieces, and the whole model's to these tokens.

    `goes_on: false` hears only the last piece, which must not be equal.
    """
    built = build(merge(ENDS, model), seed=seed).double().eval()
    x = torch.randint(0, 17, (length,), generator=torch.Generator().manual_seed(seed))
    running, said = Running(built), torch.zeros(0)
    for piece in x[:stop].split(7) if goes_on else x[:stop].split(7)[-1:]:
        said = running.push(piece)
    with torch.no_grad():
        return [said.clone()], [built(x[None, :stop])[0]]
