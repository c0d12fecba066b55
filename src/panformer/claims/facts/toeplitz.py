"""Facts about linear attention under a bias of distance: the transform against the formula, its time, and its training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from ...core.errors import InputError
from ...core.layout import Layout
from ...ops import backend
from ...ops.attend import merge_heads, split_heads
from ...ops.toeplitz_linear import toeplitz_linear
from ...papers.schema import Change, Train
from .. import registry, run
from ..arms import spec_of
from ._time import ratio
from .mixers import _mixer

Pair = tuple[Tensor, Tensor]


def formula(seed: int, causal: bool = False, lengths: Sequence[int] = (300,), biased: bool = True) -> Pair:
    """The mixer by Fourier transforms on packed sequences, and each sequence alone by its n x n weights, in float64.

    `biased: false` leaves the bias out of the formula, which must not be equal.
    """
    tree = {"use": "toeplitz_attention", "heads": 2, "causal": causal, "position": {"use": "t5", "reach": 64}}
    part, x = _mixer(seed, tree, 16, sum(lengths))
    x, outs = x[:1], []
    with torch.no_grad():
        part.position.table.copy_(torch.randn(part.position.table.shape, generator=torch.Generator().manual_seed(seed)))
    with backend.record() as used:
        fast = part(x, Layout.packed(lengths))
    if used != {"toeplitz_linear:fft": 1}:
        raise InputError(f"formula: ran on {dict(used)}, not on the transform")
    for piece in x.split(list(lengths), 1):
        q, k, v = (split_heads(f(piece), 2) for f in (part.q, part.k, part.v))
        at = Layout.dense(*piece.shape[:2])
        q, k = part.feature(q, k)
        weight = q @ k.mT
        if biased:
            weight = weight * part.position.bias().value(at, at).exp()
        weight = weight.tril() if causal else weight
        outs.append(part.o(merge_heads(weight / weight.sum(-1, keepdim=True) @ v)))
    return fast, torch.cat(outs, 1)


def slower(seed: int, length: int, heads: int = 4, size: int = 8) -> float:
    """Time of the transform over that of the n x n matrix, forward, at this length; below 1 it is faster."""
    rng = torch.Generator().manual_seed(seed)
    q, k = (torch.rand(1, heads, length, size, generator=rng) for _ in range(2))
    v = torch.randn(1, heads, length, size + 1, generator=rng)
    bias, at = -torch.rand(heads, 2 * length - 1, generator=rng), Layout.dense(1, length)
    kernel = next(k for k in toeplitz_linear.kernels if k.name == "fft")
    args = (q, k, v, bias, at, True)
    return ratio(lambda: kernel.run(*args), lambda: toeplitz_linear.reference(*args))


def diverged(
    seed: int, model: Mapping[str, Any], task: Mapping[str, Any], train: Mapping[str, Any], runs: int = 4
) -> float:
    """The share of `runs` training runs whose loss stops being finite, or ends no lower than in the first steps."""
    goal = registry.task(task)
    lost = [_lost(spec_of(model, Change(), goal.ends()), goal, runs * seed + i, train) for i in range(runs)]
    return sum(lost) / runs


def _lost(spec: dict[str, Any], goal: Any, seed: int, train: Mapping[str, Any]) -> bool:
    done = run.train_once(spec, goal, seed, Train.model_validate(dict(train)))
    losses = [loss for _, loss in done.curve]
    return math.isnan(done.measure) or fmean(losses[-3:]) >= losses[0]
