"""y_t = sum_{j<=t} e^(s_j) v_j / sum_{j<=t} e^(s_j): attention of one query that never changes to all tokens so far.

The pieces of a softmax are joined associatively, so that the whole is one scan and a stream holds one piece: the largest
score, the sum of weights, the weighted sum of values. Feng et al. 2024, Attention as an RNN.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .backend import Operator
from .check import Draw
from .kernels.prefix_softmax_tree import TREE, pieces, run
from .online_softmax import OnlineSoftmax, finish, merge, unit
from .scan import loop


def nothing(batch: int, heads: int, size: int, like: Tensor) -> OnlineSoftmax:
    """The piece before the first token."""
    zero = like.new_zeros(batch, heads, dtype=torch.promote_types(like.dtype, torch.float32))
    return unit(OnlineSoftmax(zero, zero, zero[..., None].expand(-1, -1, size)))


def reference(
    score: Tensor, v: Tensor, live: Tensor | None, reset: Tensor | None, state: OnlineSoftmax
) -> tuple[Tensor, OnlineSoftmax]:
    """score (B, T, H), v (B, T, H, V) -> y (B, T, H, V), the piece of all tokens of each row, token by token.

    live (B, T) bool: False is a token that is not there. reset (B, T) bool: True forgets all before that token.
    Numbers narrower than float32 are summed in float32; y comes back in the type of v.
    """
    return run(score, v, live, reset, state, "loop")


def traced(
    score: Tensor, v: Tensor, live: Tensor | None, reset: Tensor | None, state: OnlineSoftmax
) -> tuple[Tensor, OnlineSoftmax]:
    """`reference` with its loop over time as one operation of the graph, for any number of tokens."""
    new = pieces(score, v, live)
    fresh = torch.zeros_like(score[..., 0], dtype=torch.bool) if reset is None else reset

    def advance(past: tuple[Tensor, ...], now: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        start, *piece = now
        past = OnlineSoftmax(*past)
        kept = (torch.where(start.view(-1, *[1] * (a.dim() - 1)), b, a) for a, b in zip(past, unit(past), strict=True))
        return tuple(merge(OnlineSoftmax(*kept), OnlineSoftmax(*piece)))

    last, path = loop(advance, tuple(state), (fresh, *new))
    return finish(OnlineSoftmax(*path)).to(v.dtype), OnlineSoftmax(*last)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw = Draw(device, dtype)
    state = OnlineSoftmax(draw(2, 3), draw(2, 3).exp(), draw(2, 3, 4))
    live, reset = ~draw.flags(0.1, 2, 37), draw.flags(0.1, 2, 37)
    return draw(2, 37, 3), draw(2, 37, 3, 4), live, reset, state


prefix_softmax = Operator("prefix_softmax", reference, TREE, traced=traced, sample=sample)
