"""Facts about linear recurrences, in float64: every fast form against the recurrence as it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.layout import Layout
from ...ops import backend
from ...ops import delta_rule as delta
from ...ops import wkv as average
from ...ops.kernels.delta_rule_blocks import SIZE, in_blocks
from ._time import ratio
from .mixers import _mixer

Sides = tuple[list[Tensor], list[Tensor]]


def delta_blocks(seed: int, sizes: Sequence[int] = (1, 3, 16, 64), length: int = 150, corrects: bool = True) -> Sides:
    """The delta rule in blocks of each size, and token by token: answers, last state and all gradients.

    `corrects: false` only adds in the recurrence, as linear attention does, which must not be equal.
    """
    inputs, at = _told(seed, 2, length, 8), Layout.dense(2, length)
    if corrects:
        want = _slopes(lambda q, k, v, b: delta.reference(q, k, v, b, None, at, None), inputs)
    else:
        want = _slopes(lambda q, k, v, b: _added(q, k, v * b[..., None]), inputs)
    found = [_slopes(lambda q, k, v, b, n=n: in_blocks(q, k, v, b, None, at, None, n), inputs) for n in sizes]
    return [t for one in found for t in one], want * len(sizes)


def delta_time(seed: int, length: int = 2048, blocks: bool = True) -> float:
    """Seconds of a forward and backward pass in blocks over those of the recurrence. `blocks: false`: the recurrence."""
    inputs, at = [z.float() for z in _told(seed, 1, length, 16)], Layout.dense(1, length)

    def loop() -> None:
        _slopes(lambda q, k, v, b: delta.reference(q, k, v, b, None, at, None), inputs)

    def fast() -> None:
        _slopes(lambda q, k, v, b: in_blocks(q, k, v, b, None, at, None, SIZE), inputs)

    return ratio(fast if blocks else loop, loop, rounds=2)


def wkv(seed: int, length: int = 37, bonus: bool = True) -> Sides:
    """RWKV's average by its scan, and by the sums as written, which hold e^k itself: answers and gradients.

    `bonus: false` gives the present token no bonus in the sums, which must not be equal.
    """
    rng = torch.Generator().manual_seed(seed)
    k, v = (torch.randn(2, length, 6, generator=rng, dtype=torch.float64) for _ in range(2))
    w, u = -torch.randn(6, generator=rng, dtype=torch.float64).exp(), torch.randn(6, generator=rng, dtype=torch.float64)

    def written(k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> tuple[Tensor]:
        place = torch.arange(length)
        apart = (place[:, None] - 1 - place)[..., None]  # (T, T, 1), -1 on the diagonal
        weight = torch.exp(apart.clamp(min=0) * w + k[:, None]) * (apart >= 0)
        weight = weight + torch.diag_embed(torch.exp((u if bonus else 0 * u) + k).mT).permute(0, 2, 3, 1)
        return ((weight * v[:, None]).sum(2) / weight.sum(2),)

    start = average.nothing(2, w)
    fast = _slopes(lambda k, v, w, u: average.wkv(k, v, w, u, None, None, start)[:1], [k, v, w, u])
    return fast, _slopes(written, [k, v, w, u])


def aaren(seed: int, scale: float = 1.0, length: int = 37, past: bool = True) -> Sides:
    """A layer's running softmax as a scan, as a loop and one token at a time, and the masked softmax of its one query.

    `scale` multiplies the query. `past: false` lets the masked softmax see all tokens, which must not be equal.
    """
    part, x = _mixer(seed, {"use": "aaren", "heads": 2}, 8, length)
    with torch.no_grad():
        part.query.mul_(scale)
    at = Layout.dense(*x.shape[:2])
    out, state = [], part.start(2, x)
    for t in range(length):
        y, state = part.step(x[:, t : t + 1], at.span(t, t + 1), state)
        out.append(y)
    with backend.only("reference"):
        loop = part(x, at)
    k, v = (f(x).unflatten(-1, (2, -1)).transpose(1, 2) for f in (part.k, part.v))
    logits = (k @ part.query[..., None]).mT.expand(-1, -1, length, -1) * part.size**-0.5
    keep = torch.ones(length, length, dtype=torch.bool).tril(0 if past else length)
    weight = logits.masked_fill(~keep, -torch.inf).softmax(-1)
    want = part.o((weight @ v).transpose(1, 2).flatten(2))
    return [part(x, at), loop, torch.cat(out, 1)], [want] * 3


def _told(seed: int, batch: int, length: int, size: int) -> list[Tensor]:
    """q, k of length 1, v (B, 2, T, size) and b (B, 2, T) between 0 and 1."""
    rng = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(batch, 2, length, size, generator=rng, dtype=torch.float64) for _ in range(3))
    b = torch.rand(batch, 2, length, generator=rng, dtype=torch.float64)
    return [F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, b]


def _added(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return (q @ k.mT).tril() @ v, k.mT @ v


def _slopes(run: Callable[..., Any], inputs: Sequence[Tensor]) -> list[Tensor]:
    """What `run` answers, and the gradients of a sum that weighs all of it."""
    leaves = [z.detach().clone().requires_grad_() for z in inputs]
    out = list(run(*leaves))
    return [*out, *torch.autograd.grad(sum(z.sin().sum() for z in out), leaves)]
