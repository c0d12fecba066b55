"""Facts about attention to tokens of like content, in float64: what it is where every token is of one group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ...ops.attend import merge_heads, split_heads
from .mixers import _mixer

Pair = tuple[Tensor, Tensor]


def shared(seed: int, mixer: Mapping[str, Any], width: int = 16, length: int = 23) -> Pair:
    """A mixer by content, and softmax attention to earlier tokens whose keys are unit queries, row by row.

    Equal where one group holds all tokens and its window is as long as the sequence.
    """
    part, x = _mixer(seed, {"heads": 2, "causal": True, **mixer}, width, length)
    q, v = split_heads(part.q(x), 2), split_heads(part.v(x), 2)
    k = q / q.norm(dim=-1, keepdim=True)
    rows = [v[:, :, :1]]  # the first token has itself alone
    for i in range(1, length):
        score = (q[:, :, i : i + 1] @ k[:, :, :i].mT) * q.shape[-1] ** -0.5
        rows.append(score.softmax(-1) @ v[:, :, :i])
    return part(x, Layout.dense(2, length)), part.o(merge_heads(torch.cat(rows, 2)))
