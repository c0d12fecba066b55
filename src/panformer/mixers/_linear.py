"""What linear attention is made of: queries and keys behind a feature map, sums over the past, and their quotient."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Mixer, Position, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.score import split
from ..ops.attend import merge_heads, split_heads
from ..ops.linear_attention import Decay, linear_attention, linear_attention_chunk, sums

Lane = tuple[Tensor, Tensor, Tensor]  # queries, keys, values of one call


class LinearSums(Mixer):
    """sum_j f(q_i).f(k_j) v_j / sum_j f(q_i).f(k_j) for a feature map f >= 0, with a position, whole and in pieces."""

    positions = frozenset({"rotate", "bias"})

    class Options(Base):
        heads: int = Field(4, gt=0)
        causal: bool | None = None
        feature: Annotated[Base, Slot("features")] = Field("elu", validate_default=True)
        bias: bool = False
        position: Annotated[Base | None, Slot("positions")] = None

    def __init__(self, c: Options, width: int) -> None:
        super().__init__()
        self.heads, self.size, self.causal = c.heads, head_width(self, width, c.heads), bool(c.causal)
        self.feature = c.feature.build(c.heads, self.size)
        self.q, self.k, self.v, self.o = (linear(width, width, c.bias) for _ in range(4))
        self.position = c.position.build(c.heads, self.feature.size) if c.position else None
        self.turns = self.position is not None and self.position.kind == "rotate"
        if self.position is not None and not self.turns:
            _check(self.use(), self.position, self.causal)

    def start(self, batch: int, like: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        values = (self.size, 1) if self.turns else (self.size + 1,)
        last = like.new_zeros(batch, self.heads, dtype=torch.float64)  # log-decay at the last token
        return tuple((sums(like, batch, self.heads, self.feature.size, v), last) for v in values)

    def lanes(self, x: Tensor, at: Layout) -> list[Lane]:
        """Numerator and denominator: one call with a further column of ones, or two where only one is turned."""
        q, k, v = (split_heads(f(x), self.heads) for f in (self.q, self.k, self.v))
        (q, k), ones = self.feature(q, k), torch.ones_like(v[..., :1])
        if self.position is None or not self.turns:
            return [(q, k, torch.cat([v, ones], -1))]
        return [(self.position.rotate(q, at), self.position.rotate(k, at), v), (q, k, ones)]

    def whole(self, lanes: list[Lane], at: Layout) -> Tensor:
        """(B, T, D) what every token gathers."""
        decay = self._decay(at)
        return _read([linear_attention(*lane, at, self.causal, decay) for lane in lanes])

    def next(self, lanes, at, state):
        """The same for the next tokens, and the state after them."""
        decay = self._decay(at)
        pairs = zip(lanes, state, strict=True)
        found, state = zip(*(linear_attention_chunk(*lane, at, decay, s) for lane, s in pairs), strict=True)
        return _read(list(found)), state

    def _decay(self, at: Layout) -> Decay | None:
        bias = self.position.bias() if self.position is not None else None
        return None if bias is None else bias.log_decay(at, at)


def _read(sums: list[Tensor]) -> Tensor:
    """Numerator over denominator."""
    y = torch.cat(sums, -1)
    total = y[..., -1:]
    return merge_heads(y[..., :-1] / torch.where(total == 0, 1, total))


def _check(who: str, position: Position, causal: bool) -> None:
    """Refuse what a sum over the past cannot hold."""
    name, at, bias = position.use(), Layout.dense(1, 2), position.bias()
    if bias is None:
        return
    if not causal:
        raise InputError(f"{who}: position {name!r} biases scores, which needs causal: true")
    if split(bias)[0] is not None or bias.log_decay(at, at) is None:
        raise InputError(f"{who}: position {name!r} does not separate into u_i - v_j; try rope or alibi")
