"""attend as two batched products with exp between, in bf16 on a CPU with units for bf16.

There torch's fused call asks for the product of every 64 queries by itself, which costs more to set up than to multiply,
and a softmax over rows that fill no whole vectors is slow. Here one call serves as many heads as have their scores in
cache together. A softmax does not change when all keys of a head are moved by one vector: about the mean of the keys
the scores of a query add up to 0, so that their largest is no less, and no query's sum of exp vanishes; only where a
score is so far above the mean that exp might overflow the softmax itself is called.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.score import Same, Score
from ..backend import Kernel
from ..check import Draw
from .attend_sdpa import PLAIN

LEAST = 20_000  # scores in all under which the fused call is quicker,
MOST = 2048  # and keys over which it is
ROOM = 1 << 19  # scores held at a time
HIGH = 64.0  # exp of it, times the keys, is far from the largest number


def refuses(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score: Score,
    q_at: Layout,
    k_at: Layout,
    scale: float,
    dropout: float = 0.0,
    cap: float | None = None,
) -> str | None:
    if torch.compiler.is_compiling():
        return "it looks at the scores, which have no numbers yet"
    why = lacks(q.device, q.dtype)
    if why is not None:
        return why
    if torch.is_grad_enabled():
        return "the backward pass would keep the weights"
    if torch._C._len_torch_dispatch_stack():
        return "it looks at the scores, which may be watched or without numbers"
    if cap is not None or dropout > 0:
        return "weights are neither capped nor dropped here"
    if score != PLAIN or not (q_at.full and k_at.full):
        return "the score may hide or weigh some keys"
    return outgrown(q, k)


def outgrown(q: Tensor, k: Tensor) -> str | None:
    """Why torch's fused call is quicker than batched products on so many scores, or None."""
    scores = q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2]
    if scores < LEAST or k.shape[2] > MOST:
        return f"{scores} scores of {k.shape[2]} keys: the fused call is quicker under {LEAST} and over {MOST}"
    return None


def run(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score: Score,
    q_at: Layout,
    k_at: Layout,
    scale: float,
    dropout: float = 0.0,
    cap: float | None = None,
) -> Tensor:
    batch, heads, length, size = q.shape
    groups, keys = k.shape[1:3]
    a = q.reshape(batch * groups, -1, size)  # the heads of a group are rows of one product
    b = (k - k.mean(2, keepdim=True)).reshape(batch * groups, keys, size)
    c = v.reshape(batch * groups, keys, -1)
    step = max(1, ROOM // (a.shape[1] * keys))
    outs = [_mixed(a[i : i + step], b[i : i + step], c[i : i + step], scale) for i in range(0, len(a), step)]
    return (outs[0] if len(outs) == 1 else torch.cat(outs)).view(batch, heads, length, -1)


def _mixed(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """q (N, T, E), k (N, S, E), v (N, S, V) -> (N, T, V)."""
    score = torch.baddbmm(q.new_zeros(1, 1, 1), q, k.mT, beta=0, alpha=scale)
    if not score.max() <= HIGH:
        return torch.bmm(score.softmax(-1), v)
    weight = score.exp_()
    total = weight.view(-1, k.shape[1]) @ k.new_ones(k.shape[1], 1)
    return torch.bmm(weight, v) / total.view(*q.shape[:2], 1)


def lacks(device: torch.device, dtype: torch.dtype) -> str | None:
    if dtype != torch.bfloat16 or device.type != "cpu":
        return "not in bf16 on a CPU"
    return None if _fits() else "this processor has no units for bf16, or tiles that the fused call uses"


@cache
def _fits() -> bool:
    tiles = torch.cpu._is_amx_tile_supported()
    return torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported() and not tiles


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), Layout.dense(2, 35, device=device)
    return draw(2, 4, 35, 8), draw(2, 2, 35, 8), draw(2, 2, 35, 8), Same(), at, at, 0.35


PRODUCTS = Kernel("products", refuses, run, sample, lacks)
