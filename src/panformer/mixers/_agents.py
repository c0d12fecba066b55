"""Attention through agents: what the sequence and the lattice form share."""

from __future__ import annotations

from torch import Tensor

from ..core.errors import InputError
from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads
from ..ops.landmarks import through


class Agents(Mixer):
    """o(softmax(q a' / sqrt(E)) softmax(a k' / sqrt(E)) v + conv(v)), agents a that are means of queries."""

    def __init__(self, heads: int, bias: bool, conv: int | None, width: int) -> None:
        super().__init__()
        head_width(self, width, heads)
        if conv is not None and conv % 2 == 0:
            raise InputError(f"{self.use()}: conv must be odd, so that a token is in its middle; got {conv}")
        self.heads = heads
        self.q, self.k, self.v, self.o = (linear(width, width, bias) for _ in range(4))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        v = self.v(x)
        q, k, rows = (split_heads(at.to_rows(y), self.heads) for y in (self.q(x), self.k(x), v))
        mean, kept = self.pooled(at, q)
        real = None if at.full else at.rows[1][:, None, None]
        y = through(q, mean @ q, k, rows, real, kept, *self.biases(at))
        return self.o(at.from_rows(merge_heads(y)) + self.near(v, at))

    def pooled(self, at: Layout, like: Tensor) -> tuple[Tensor, Tensor | None]:
        """((N|1, 1, M, L) what makes agents out of queries, (N, 1, 1, M) which there are or None for all)."""
        raise NotImplementedError

    def biases(self, at: Layout) -> tuple[Tensor, ...]:
        """Logits added where agents read tokens (H, M, L) and where tokens read agents (H, L, M), or nothing."""
        return ()

    def near(self, v: Tensor, at: Layout) -> Tensor | float:
        """(B, T, D) what neighbours add to each value; agents alone make values alike."""
        raise NotImplementedError
