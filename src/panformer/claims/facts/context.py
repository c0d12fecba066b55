"""Facts about score terms that depend on the tokens themselves, in float64: what they become in a limit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.part import config
from ...positions.alibi import slopes

Pair = tuple[Tensor, Tensor]


def forget_gate(seed: int, own: bool = False, heads: int = 2, length: int = 13) -> Pair:
    """Causal attention with Cable, and one whose keys are forgotten by gates sigmoid(-w x - b) of the tokens after them.

    With `own` the key's own gate counts as well, which must not be equal.
    """
    part, x = _attention(seed, "cable", heads, length)
    gate = torch.sigmoid(-part.position.w(x)).transpose(1, 2)  # (B, H, T)
    kept = torch.ones(*gate.shape, length, dtype=gate.dtype)
    for i in range(length):
        for j in range(i):
            kept[:, :, i, j] = gate[:, :, j + (not own) : i + 1].prod(-1)
    return part(x, Layout.dense(len(x), length)), _plain(part, x, kept.log())


def equal_steps(seed: int, context: bool = False, heads: int = 4, length: int = 13) -> Pair:
    """Cable whose steps are ALiBi's slopes, and ALiBi. With `context` the tokens change them, which must differ."""
    part, x = _attention(seed, "cable", heads, length)
    slope = torch.tensor(slopes(heads), dtype=torch.float64)
    with torch.no_grad():
        part.position.w.bias.copy_(torch.expm1(slope).log())
        part.position.w.weight.mul_(float(context))
    place = torch.arange(length)
    return part(x, Layout.dense(len(x), length)), _plain(part, x, -slope[:, None, None] * (place[:, None] - place))


def _attention(seed: int, position: str, heads: int, length: int, width: int = 16) -> tuple[Any, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tree = {"use": "attention", "heads": heads, "causal": True, "position": position}
        return config("mixers", tree).build(width).double(), torch.randn(2, length, width, dtype=torch.float64)


def _plain(part: Any, x: Tensor, term: Tensor) -> Tensor:
    """Causal attention by the maps of `part` with a term (H, T, T) or (B, H, T, T) added to its logits."""
    q, k, v = (m(x).unflatten(-1, (-1, part.size)).transpose(1, 2) for m in (part.q, part.k, part.v))
    late = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    weight = (q @ k.mT * part.scale + term).masked_fill(late, -torch.inf).softmax(-1)
    return part.o((weight @ v).transpose(1, 2).flatten(2))
