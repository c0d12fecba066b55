"""Facts about static sparse attention, in float64: what is covered, what is exact, and how branches and regions mix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.part import config
from ...core.score import Causal, Same
from ...core.sparse import Dilated, Sparse
from ...ops.attend import reference
from ...ops.kernels import attend_rows
from ...ops.online_softmax import OnlineSoftmax, finish, merge, part
from ...ops.region_attention import matrix
from .mixers import _mixer

Pair = tuple[Tensor, Tensor]
Sides = tuple[list[Tensor], list[Tensor]]
HEADS, SCALE = 4, 0.4


def hops(seed: int, pattern: Mapping[str, Any], length: int = 150, count: int = 2) -> Pair:
    """Which pairs `count` causal layers connect, over all heads; and all pairs that do not look ahead."""
    at = Layout.dense(1, length)
    seen = ((Same() & Causal()) + _score(pattern)).value(at, at)[0] > -torch.inf
    step = seen.any(0).double()
    return (torch.linalg.matrix_power(step, count) > 0).double(), torch.ones(length, length, dtype=torch.float64).tril()


def rows(
    seed: int,
    pattern: Mapping[str, Any],
    causal: bool = True,
    lengths: Sequence[int] = (131, 40, 1),
    masked: bool = True,
) -> Sides:
    """Answers and gradients over gathered rows, and those of the dense formula under the pattern's mask.

    `masked: false` leaves the pattern out of the formula, which must not be equal.
    """
    at, term = Layout.packed(lengths), Same() & Causal() if causal else Same()
    q, k, v = inputs = [x.requires_grad_() for x in _values(seed, 3, at.length)]
    full = term + _score(pattern)
    sides = (
        attend_rows.run(q, k, v, full, at, at, SCALE),
        reference(q, k, v, full if masked else term, at, at, SCALE),
    )
    one, other = ([y, *torch.autograd.grad(y.sin().sum(), inputs)] for y in sides)
    return one, other


def mixture(
    seed: int, segments: Sequence[int] = (8, 16, 32), rates: Sequence[int] = (1, 2, 4), weighted: bool = True
) -> Sides:
    """Dilated attention, and its branches one by one, each divided by its own sum and then weighed by that sum.

    `weighted: false` takes their plain mean, which must not be equal.
    """
    length = 50
    at = Layout.dense(1, length)
    q, k, v = inputs = [x.requires_grad_() for x in _values(seed, 3, length)]
    pattern = {"use": "dilated", "segments": list(segments), "rates": list(rates)}
    ours = attend_rows.run(q, k, v, (Same() & Causal()) + _score(pattern), at, at, SCALE)
    outs, sums = [], []
    for w, r in zip(segments, rates, strict=True):
        branch = Sparse(tuple((Dilated(w, r, h % r),) for h in range(HEADS)))
        logits = q @ k.mT * SCALE + ((Same() & Causal()) + branch).value(at, at)
        piece = part(logits, v)
        outs.append(finish(piece))
        sums.append(piece.sum * piece.max.exp() if weighted else torch.ones_like(piece.sum))
    share = torch.stack(sums) / torch.stack(sums).sum(0)
    theirs = (torch.stack(outs) * share[..., None]).sum(0)
    one, other = ([y, *torch.autograd.grad(y.sin().sum(), inputs)] for y in (ours, theirs))
    return one, other


def devices(
    seed: int,
    count: int = 4,
    segments: Sequence[int] = (8, 32, 64),
    rates: Sequence[int] = (1, 2, 4),
    gathered: bool = True,
) -> Pair:
    """Dilated attention of tokens that lie on `count` devices, and on one.

    Every device holds as many tokens in a row; for a segment that is longer it gets the keys and values that others
    keep of it. `gathered: false` leaves it with its own, which must not be equal.
    """
    length = 64
    q, k, v = _values(seed, 3, length)
    at, own = Layout.dense(1, length), length // count
    pattern = {"use": "dilated", "segments": list(segments), "rates": list(rates)}
    heads = []
    for h in range(HEADS):
        shares = []
        for d in range(count):
            here = torch.arange(d * own, (d + 1) * own)
            seen: OnlineSoftmax | None = None
            for w, r in zip(segments, rates, strict=True):
                kept = torch.cat([x[x % r == h % r] for x in torch.arange(length).split(own)])  # what devices send
                near = kept[(kept // own == d)] if w <= own or not gathered else kept[kept // w == d * own // w]
                sees = Dilated(w, r, h % r).sees(here[:, None], near[None]) & (near <= here[:, None])
                logits = (q[:, h, here] @ k[:, h, near].mT * SCALE).masked_fill(~sees, -torch.inf)
                piece = part(logits, v[:, h, near])
                seen = piece if seen is None else merge(seen, piece)
            assert seen is not None
            shares.append(finish(seen))
        heads.append(torch.cat(shares, 1))
    score = (Same() & Causal()) + _score(pattern)
    return torch.stack(heads, 1), reference(q, k, v, score, at, at, SCALE)


def all_seen(seed: int, mixer: Mapping[str, Any], length: int = 140) -> Sides:
    """A mixer whose limits are wide enough, or too narrow, and causal attention on its weights; and gradients."""
    ours, x = _mixer(seed, {"heads": HEADS, "causal": True, **mixer}, 16, length)
    peer = config("mixers", {"use": "attention", "heads": HEADS, "causal": True}).build(16).double()
    peer.load_state_dict(ours.state_dict())
    x.requires_grad_()
    sides = []
    for m in (ours, peer):
        y = m(x, Layout.dense(*x.shape[:2]))
        sides.append([y, *torch.autograd.grad(y.sin().sum(), [x, m.q.weight, m.k.weight, m.v.weight])])
    return sides[0], sides[1]


def support(seed: int, block: int | None = None, length: int = 70, regions: bool = True) -> Pair:
    """Which weights of causal Combiner's implied matrix are above 0, and the pairs that do not look ahead.

    `regions: false` leaves out what is seen through regions, which must not be equal.
    """
    a = _weights(seed, block, length, regions)
    return (a > 0).double(), torch.ones_like(a).tril()


def sums(seed: int, block: int | None = None, length: int = 70, regions: bool = True) -> Pair:
    """The sums of the rows of Combiner's implied matrix, and 1. `regions: false` as in `support`."""
    a = _weights(seed, block, length, regions).sum(-1)
    return a, torch.ones_like(a)


def _weights(seed: int, block: int | None, length: int, regions: bool) -> Tensor:
    q, k, _ = _values(seed, 3, length)
    a = matrix(q, k, q, torch.ones(1, length, dtype=torch.bool), block, True, SCALE)
    place = torch.arange(length) // (block or 8)
    return a if regions else a * (place == place[:, None])


def _score(pattern: Mapping[str, Any]) -> Sparse:
    return config("patterns", dict(pattern)).build(HEADS).score


def _values(seed: int, count: int, length: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(1, HEADS, length, 6, generator=rng, dtype=torch.float64) for _ in range(count)]
