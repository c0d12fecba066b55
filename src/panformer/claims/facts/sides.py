"""Facts about mixers that look to both sides as matrices do, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ...core.layout import Layout
from ...measure.matrix import matrix
from ...ops import backend
from ...ops.attend import merge_heads
from ...ops.gated_linear import reference as recurrence
from ...ops.two_sided import two_sided
from .mixers import _mixer

Sides = tuple[list[Tensor], list[Tensor]]


def lion(
    seed: int, decay: Literal["none", "fixed", "selective"] = "selective", length: int = 70, halved: bool = True
) -> Sides:
    """Two scans in blocks and two recurrences token by token, and the masked matrix, with gradients.

    `halved: false` leaves the diagonal in both recurrences, which must not be equal.
    """
    rng = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(2, 2, length, n, generator=rng, dtype=torch.float64) for n in (5, 5, 4))
    fall = -torch.rand(2, 2, length, generator=rng, dtype=torch.float64)
    if decay != "selective":
        fall = torch.full_like(fall, 0.0 if decay == "none" else -0.1)
    at = Layout.dense(2, length)

    def recurrent(q: Tensor, k: Tensor, v: Tensor, fall: Tensor) -> Tensor:
        def side(*z: Tensor) -> Tensor:
            q, k, v, fall = z
            y = recurrence(q, k, v, fall[..., None].expand_as(q), at, None)[0]
            return y - (q * k).sum(-1, keepdim=True) * v / 2 if halved else y

        return side(q, k, v, fall) + side(*(z.flip(2) for z in (q, k, v, fall))).flip(2)

    inputs = [q, k, v, fall]
    want = _slopes(lambda *z: two_sided.reference(*z, at), inputs)
    scans = _slopes(lambda *z: two_sided(*z, at), inputs) if halved else _slopes(recurrent, inputs)
    return [*scans, *_slopes(recurrent, inputs)], want * 2


def hydra(seed: int, length: int = 37, diagonal: bool = True) -> tuple[Tensor, Tensor]:
    """Hydra's mixing by two scans, and its values times the matrix from the two triangles as they are written.

    `diagonal: false` leaves out what no scan gives, which must not be equal.
    """
    part, x = _mixer(seed, {"use": "hydra", "heads": 2, "state": 4}, 8, length)
    mix, v = part.mixing(x, Layout.dense(2, length))
    with backend.only("reference"):
        m = matrix(mix, v)
    if not diagonal:
        m = m - torch.diag_embed(m.diagonal(dim1=2, dim2=3))
    return merge_heads(mix(v)), merge_heads(m @ v)


def rank(seed: int, state: int = 4, length: int = 24) -> float:
    """The largest rank of a block of Hydra's matrix on one side of the diagonal."""
    part, x = _mixer(seed, {"use": "hydra", "heads": 2, "state": state}, 16, length)
    mix, v = part.mixing(x, Layout.dense(2, length))
    m = matrix(mix, v).detach()
    blocks = [m[..., i:, :i] for i in range(1, length)] + [m[..., :i, i:] for i in range(1, length)]
    return float(max(int(torch.linalg.matrix_rank(b, rtol=1e-10).max()) for b in blocks))


def after(seed: int, change: int = 20, length: int = 37, masked: bool = True) -> tuple[Tensor, Tensor]:
    """A masked mixer's answers before a token, and the same when that token and all later ones are others.

    `masked: false` asks for the answers of the later tokens, which must not be equal.
    """
    part, x = _mixer(seed, {"use": "masked_mixer", "heads": 2, "length": 64}, 8, length)
    other = torch.cat([x[:, :change], -x[:, change:]], 1)
    here = slice(0, change) if masked else slice(change, None)
    return part(x, Layout.dense(2, length))[:, here], part(other, Layout.dense(2, length))[:, here]


def _slopes(run: Callable[..., Any], inputs: Sequence[Tensor]) -> list[Tensor]:
    """What `run` answers, and the gradients of a sum of it."""
    leaves = [z.detach().clone().requires_grad_() for z in inputs]
    y = run(*leaves)
    return [y, *torch.autograd.grad(y.sin().sum(), leaves)]
