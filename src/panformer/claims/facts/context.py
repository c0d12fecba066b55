"""Facts about score terms that depend on the tokens themselves, in float64: what they become in a limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.part import config
from ...measure import cost
from ...ops import backend
from ...ops.relative_logits import relative_logits
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


def pairs(seed: int, away: int = 0, heads: int = 2, length: int = 13, reach: int = 5) -> Pair:
    """Causal attention with a vector per distance, and with the products of every pair one by one.

    With `away` the pairs take vectors of distances that much further, which must not be equal.
    """
    part, x = _attention(seed, {"use": "relative_vectors", "reach": reach}, heads, length)
    q = part.q(x).unflatten(-1, (heads, -1)).transpose(1, 2) * part.scale
    term = torch.zeros(len(x), heads, length, length, dtype=x.dtype)
    for i in range(length):
        for j in range(i + 1):
            term[:, :, i, j] = (q[:, :, i] * part.position.table[:, min(i - j + away, reach)]).sum(-1)
    return part(x, Layout.dense(len(x), length)), _plain(part, x, term)


def skew(seed: int, two_sided: bool = False, moved: bool = False) -> tuple[list[Tensor], list[Tensor]]:
    """Relative logits and their gradients by the skew, and by a gathered vector for every pair.

    `moved` gives the skew the vectors of one distance further, which must not be equal.
    """
    rng = torch.Generator().manual_seed(seed)
    at, sides = Layout.dense(2, 11), []
    q, slope = (torch.randn(2, 3, 11, n, generator=rng, dtype=torch.float64) for n in (4, 11))
    table = torch.randn(3, 13, 4, generator=rng, dtype=torch.float64)
    for form in ("skew", "reference"):
        given = [t.clone().requires_grad_() for t in (q, table)]
        with backend.only(form):
            turned = given[1].roll(1, 1) if moved and form == "skew" else given[1]
            out = relative_logits(given[0], turned, at, at, two_sided)
        sides.append([out, *torch.autograd.grad((out * slope).sum(), given)])
    return sides[0], sides[1]


def held(seed: int, form: Literal["skew", "reference"], length: int = 96, size: int = 32) -> float:
    """Most numbers alive at once while relative logits are made, over the number of logits."""
    rng, at = torch.Generator().manual_seed(seed), Layout.dense(1, length)
    q, table = (torch.randn(*n, generator=rng) for n in ((1, 2, length, size), (2, length, size)))
    with backend.only(form):
        found = cost.trace(lambda q, table: relative_logits(q, table, at, at, False), q, table)
    return found.peak / (q.element_size() * 2 * length * length)


def _attention(
    seed: int, position: str | Mapping[str, Any], heads: int, length: int, width: int = 16
) -> tuple[Any, Tensor]:
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
