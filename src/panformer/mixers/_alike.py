"""What mixers share where a token looks at tokens of like content: queries that are keys too, groups, and the stream."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..core.families import Mixer, head_width, linear
from ..core.grow import grown
from ..core.layout import Layout, exporting
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads
from ..ops.group_attention import group_attention

State = tuple[Tensor, Tensor, Tensor]  # keys, values (B, H, S, E), groups (B, H, S, R) with -1 for no token


class Alike(Mixer):
    """o(softmax(q k' / sqrt(E)) v over the others of the token's group), k = q / |q|: content alone says who is seen.

    A token sees members of its groups that are less than `window` of them away, itself only where it sees no other.
    Its groups hang on itself alone, so that the causal form looks at nothing later.
    """

    positions = frozenset({"rotate"})

    class Options(Base):
        heads: int = Field(4, gt=0)
        causal: bool | None = None
        bias: bool = False
        position: Annotated[Base | None, Slot("positions")] = None

    def __init__(self, c: Options, width: int, window: int | None, groups: int) -> None:
        super().__init__()
        self.heads, self.size, self.causal = c.heads, head_width(self, width, c.heads), bool(c.causal)
        self.window, self.groups = window, groups
        self.growth = "n^2" if window is None else "n"
        self.q, self.v, self.o = (linear(width, width, c.bias) for _ in range(3))
        self.position = c.position.build(c.heads, self.size) if c.position else None

    def group(self, x: Tensor) -> Tensor:
        """Unit vectors (B, H, T, E) -> the group of each in every round, (B, H, T, R) int64 in 0 .. groups - 1."""
        raise NotImplementedError

    def routed(self, x: Tensor, at: Layout) -> Tensor:
        """`group` of a batch, from which a part may learn in training."""
        return self.group(x)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        q, k, v, group = (rows(z, at) for z in self._maps(at.clean(x), at))
        return self.o(at.from_rows(merge_heads(self._look(q, k, v, _there(group, at.as_rows())))))

    def start(self, batch: int, like: Tensor) -> State:
        empty = like.new_zeros(batch, self.heads, 0, self.size)
        return empty, empty, self.group(empty)

    def chunk(self, x, at, state, shared=None):
        q, *new = self._maps(at.clean(x), at)
        new[-1] = _there(new[-1], at)
        state = tuple(grown(old, z, 2) for old, z in zip(state, new, strict=True))
        return self.o(merge_heads(self._look(q, *state))), self._kept(*state)

    def _maps(self, x: Tensor, at: Layout) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, keys, values (B, H, T, E) and groups (B, H, T, R) of the tokens."""
        q, v = split_heads(self.q(x), self.heads), split_heads(self.v(x), self.heads)
        if self.position is None:
            k = F.normalize(q, dim=-1)
            return q, k, v, self.routed(k.detach(), at)
        group = self.routed(F.normalize(q.detach(), dim=-1), at)
        q = self.position.rotate(q, at)
        return q, F.normalize(q, dim=-1), v, group

    def _look(self, q: Tensor, k: Tensor, v: Tensor, group: Tensor) -> Tensor:
        window = max(1, k.shape[2]) if self.window is None else self.window
        return group_attention(q, k, v, group.mT, window, self.causal, self.size**-0.5)

    def _kept(self, k: Tensor, v: Tensor, group: Tensor) -> State:
        """What later tokens may see; looked through when it has doubled since the last time, or more."""
        w = self.window
        if w is None or exporting() or k.shape[2] <= 2 * w * self.groups * group.shape[3]:
            return k, v, group
        by_group, order = group.mT.sort(dim=-1, stable=True)  # (B, H, R, S)
        last = F.pad(by_group[..., w - 1 :], (0, w - 1), value=-2) != by_group  # fewer than w - 1 of its group follow
        wanted = torch.empty_like(last).scatter_(-1, order, last & (by_group >= 0)).any(2)
        which = (~wanted).long().argsort(dim=-1, stable=True)[..., : int(wanted.sum(-1).max())]
        group = group.masked_fill(~wanted[..., None], -1)
        return tuple(z.gather(2, which[..., None].expand(-1, -1, -1, z.shape[3])) for z in (k, v, group))  # type: ignore[return-value]


def _there(group: Tensor, at: Layout) -> Tensor:
    return group if at.full else group.masked_fill(~at.valid[:, None, :, None], -1)


def rows(x: Tensor, at: Layout) -> Tensor:
    """(B, H, T, E) -> (N, H, L, E): one row per sequence."""
    return at.to_rows(x.transpose(1, 2)).transpose(1, 2)
