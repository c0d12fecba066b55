"""Leaky integrate-and-fire neurons: a potential that fades, grows with its input, and is taken down by each spike.

v_t = decay v_{t-1} + x_t; s_t = 1 where v_t >= threshold, else 0; then v_t loses the threshold for each spike, or all
of it. The step has no gradient; in training it is given that of sigmoid(4 (v - threshold)), and none passes through
what a spike takes. Neftci et al. 2019, Surrogate gradient learning in spiking neural networks; the surrogate and the
detached reset are those of Fang et al. 2023, SpikingJelly.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..core.layout import Layout, exporting
from .scan import loop

SHARP = 4.0  # of the surrogate
Reset = Literal["subtract", "zero"]
Pair = tuple[Tensor, Tensor]


class Neuron(NamedTuple):
    """decay of the potential from token to token, where it fires, and what a spike takes of it."""

    decay: float = 0.5
    threshold: float = 1.0
    reset: Reset = "subtract"


def step(z: Tensor, slope: bool) -> Tensor:
    """1 where z >= 0, else 0; with `slope` its gradient is that of sigmoid(4 z), else 0."""
    hard = (z >= 0).to(z.dtype)
    if not slope:
        return hard
    soft = torch.sigmoid(SHARP * z)
    return hard + (soft - soft.detach())


def fire(x: Tensor, n: Neuron, at: Layout, v: Tensor | None, slope: bool) -> Pair:
    """x (B, T, D) without junk at padding -> spikes (B, T, D) of 0 and 1, 0 at padding, and the last potential (B, D).

    With v, the potential so far, each row is the next tokens of one sequence; without it every sequence starts from 0.
    Padding, anywhere, leaves it as it is. Potentials are of float32 at least; spikes come back in the type of x.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    begin = x.new_zeros(len(x), x.shape[2], dtype=wide) if v is None else v.to(wide)
    xs = (x.to(wide), *_masks(n, at, v is None, wide))

    def advance(before: Pair, now: tuple[Tensor, Tensor, Tensor]) -> Pair:
        new, keep, real = now
        v = keep * before[0] + new
        s = step(v - n.threshold, slope) * real
        taken = s.detach()
        return (v - n.threshold * taken if n.reset == "subtract" else v * (1 - taken)), s

    now: Pair = (begin, torch.zeros_like(begin))
    if exporting():
        (v, _), (_, spikes) = loop(advance, now, xs)
        return spikes.to(x.dtype), v
    path = []
    for t in range(x.shape[1]):
        now = advance(now, tuple(z[:, t] for z in xs))
        path.append(now[1])
    return torch.stack(path, 1).to(x.dtype), now[0]


def _masks(n: Neuron, at: Layout, whole: bool, wide: torch.dtype) -> Pair:
    """(the share of the potential that stays, where a token is real), each (B, T, 1)."""
    real = at.valid[..., None]
    keep = torch.ones(real.shape, dtype=wide, device=real.device).masked_fill(real, n.decay)
    return (keep.masked_fill(at.starts[..., None], 0) if whole else keep), real.to(wide)
