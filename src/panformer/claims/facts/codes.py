"""Facts about attention by binary codes, in float64 where they are identities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ...core.layout import Layout
from ...ops.attend import merge_heads, split_heads
from .mixers import _mixer

Pair = tuple[Tensor, Tensor]


def associative(
    seed: int,
    feature: Mapping[str, Any],
    causal: bool = False,
    added: Literal["every", "own"] = "every",
    length: int = 37,
) -> Pair:
    """Linear attention on codes, and its explicit n x n weights b - 2 Hamming + c, counted bit by bit.

    `added: own` adds c v_i in the numerator where the formula adds c sum_j v_j, which must not be equal.
    """
    tree = {"use": "linear_attention", "heads": 2, "causal": causal, "feature": dict(feature)}
    part, x = _mixer(seed, tree, 16, length)
    q, k, v = (split_heads(f(x), 2) for f in (part.q, part.k, part.v))
    codes_q, codes_k = (z[..., :-1] > 0 for z in part.feature(q, k))
    bits = codes_q.shape[-1]
    differ = (codes_q[..., :, None, :] != codes_k[..., None, :, :]).sum(-1)
    c = 2 ** (bits.bit_length())
    near = (bits - 2 * differ).to(v.dtype)
    seen = torch.ones_like(near).tril() if causal else torch.ones_like(near)
    total = (seen * (near + c)).sum(-1, keepdim=True)
    lifted = c * (seen @ v if added == "every" else v)
    return part(x, Layout.dense(2, length)), part.o(merge_heads(((seen * near) @ v + lifted) / total))
