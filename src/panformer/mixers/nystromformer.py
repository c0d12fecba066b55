"""Nyström attention: every token looks at a few landmarks, every landmark at all tokens."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads
from ..ops.landmarks import means, weights
from ._values import along_values, value_kernel

ROUNDS = 6  # of the iteration for the inverse


class Nystromformer(Mixer):
    """o(S(q k~') S(q~ k~')^+ S(q~ k') v + conv(v)), S the softmax of scores / sqrt(E). Xiong et al. 2021.

    A sequence of n tokens has m = min(landmarks, n) landmarks: q~ and k~ are the means of queries and keys over m
    segments, token t in segment floor(t m / n). The inverse is six rounds of Razavi et al.'s iteration, started at
    the transpose over its largest column sum in all heads. Without `landmarks` S(q k') v is exact. `conv` is the
    width of a convolution along the values with one kernel per head.
    """

    paper = "Xiong et al. 2021, Nyströmformer: a Nyström-based algorithm for approximating self-attention"
    examples = (
        {"heads": 2, "landmarks": 4, "conv": 3},
        {"heads": 4, "landmarks": 3, "bias": True},
        {"heads": 2, "conv": 5},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        landmarks: int | None = Field(None, gt=0, description="default: none, attention is exact")
        conv: int | None = Field(None, gt=0, description="odd: values that a token adds; default: no convolution")
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        head_width(self, width, c.heads)
        self.heads, self.landmarks = c.heads, c.landmarks
        self.growth = "n" if c.landmarks else "n^2"
        self.q, self.k, self.v, self.o = (linear(width, width, c.bias) for _ in range(4))
        self.kernel = value_kernel(c.heads, c.conv)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        v = self.v(x)
        q, k, rows = (at.to_rows(y) for y in (self.q(x), self.k(x), v))
        real = None if at.full else at.rows[1][:, None, None]  # (N, 1, 1, L)
        y = at.from_rows(merge_heads(self._read(q, k, split_heads(rows, self.heads), at, real)))
        return self.o(y if self.kernel is None else y + along_values(v, self.kernel, at))

    def _read(self, q: Tensor, k: Tensor, v: Tensor, at: Layout, real: Tensor | None) -> Tensor:
        """q, k (N, L, H*E), v (N, H, L, E)."""
        scale = v.shape[-1] ** -0.5
        if self.landmarks is None:
            return weights(split_heads(q * scale, self.heads) @ split_heads(k, self.heads).mT, real) @ v
        (q_mark, kept), (k_mark, _) = (means(y, at, self.landmarks) for y in (q, k))
        q, k, q_mark, k_mark = (split_heads(y, self.heads) for y in (q, k, q_mark * scale, k_mark))
        from_marks = weights(q_mark @ k.mT, real) @ v
        between = weights(q_mark @ k_mark.mT, kept)
        if kept is not None:
            between = between * kept.mT
        return weights(q @ (k_mark * scale).mT, kept) @ (inverse(between) @ from_marks)


def inverse(a: Tensor) -> Tensor:
    """Nearly the pseudo-inverse of a (N, H, M, M), for matrices whose rows sum to 1. Razavi et al. 2014."""
    one = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    z = a.mT / a.sum(-2).amax((1, 2))[:, None, None, None]
    for _ in range(ROUNDS):
        az = a @ z
        z = 0.25 * z @ (13 * one - az @ (15 * one - az @ (7 * one - az)))
    return z
