"""Sequences in groups of tokens, each group with a few latent tokens of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..core.families import linear
from ..core.layout import Layout
from ..core.score import Causal, Score
from ..ops.attend import attend, merge_heads, split_heads


class Groups(NamedTuple):
    """N sequences of up to R groups of up to S cells; each group has M latents."""

    real: Tensor  # (N, R, S) bool: which cells hold a token
    tokens: Layout  # (N R, S)
    owned: Layout  # (N R, M) the latents of each group, beside its tokens
    latents: Layout  # (N, R M) all of a sequence; their position is the number of their group


class Cells(NamedTuple):
    """Which token of a row of tokens (N, L) stands in which cell (N, R S), and the groups."""

    token: Tensor  # (N, R S) int64
    cell: Tensor  # (N, L) int64
    groups: Groups


@dataclass(frozen=True)
class UpTo(Causal):
    """The key's group is not after the query's; unlike tokens, the latents of one group see each other."""


class Look(nn.Module):
    """o(softmax(q k' / sqrt(E)) v): some tokens read others. Queries that see nothing get 0."""

    def __init__(self, width: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (linear(width, width, bias) for _ in range(4))

    def keys(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, T, E) of what can be read."""
        return split_heads(self.k(x), self.heads), split_heads(self.v(x), self.heads)

    def forward(self, x: Tensor, at: Layout, kv: tuple[Tensor, Tensor], kv_at: Layout, score: Score) -> Tensor:
        q = split_heads(self.q(x), self.heads)
        return self.o(merge_heads(attend(q, *kv, score, at, kv_at, q.shape[-1] ** -0.5)))


def grouped(real: Tensor, first: Tensor, marks: int, full: bool) -> Groups:
    """The groups of cells that hold a token; `first` (N,) is the number of each sequence's first group."""
    rows, many, size = real.shape
    slot = torch.arange(size, device=real.device).expand(rows * many, size)[..., None]
    seg = torch.where(real.any(-1), 0, -1)[..., None].expand(-1, -1, marks)
    number = first[:, None] + torch.arange(many, device=real.device)
    number = number[..., None].expand(-1, -1, marks)
    return Groups(
        real,
        Layout(torch.where(real, 0, -1).flatten(0, 1), slot, full=full),
        Layout(seg.flatten(0, 1), torch.zeros_like(number).flatten(0, 1)[..., None], full=full),
        Layout(seg.flatten(1), number.flatten(1)[..., None], full=full),
    )


def cut(count: Tensor, length: int, size: int | Tensor, offset: Tensor, first: Tensor, marks: int) -> Cells:
    """Rows (N, length) of `count` (N,) tokens in groups of `size`, the first of them in cell `offset` (N,)."""
    sizes = torch.as_tensor(size, device=count.device).expand(len(count))
    wide, many = int(sizes.max()), max(1, int(((offset + count + sizes - 1) // sizes).max()))
    row = torch.arange(many, device=count.device)[:, None]
    slot = torch.arange(wide, device=count.device)
    token = row * sizes[:, None, None] + slot - offset[:, None, None]  # (N, R, S)
    real = (token >= 0) & (token < count[:, None, None]) & (slot < sizes[:, None, None])
    place = torch.arange(length, device=count.device) + offset[:, None]
    cell = place // sizes[:, None] * wide + place % sizes[:, None]
    cell = cell.clamp(max=many * wide - 1)  # past the last token of a shorter row
    return Cells(token.flatten(1).clamp(0, max(0, length - 1)), cell, grouped(real, first, marks, False))


def whole(batch: int, length: int, size: int, marks: int, device: torch.device) -> Cells:
    """As `cut` for rows that groups of `size` fill."""
    index = torch.arange(length, device=device).expand(batch, length)
    real = torch.ones(batch, length // size, size, dtype=torch.bool, device=device)
    return Cells(index, index, grouped(real, index[:, 0], marks, True))


def take(x: Tensor, index: Tensor) -> Tensor:
    """x (N, L, D), index (N, K) -> (N, K, D)."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[2]))
