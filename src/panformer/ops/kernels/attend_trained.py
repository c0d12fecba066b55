"""attend in training as batched products with a softmax between, in bf16 on a CPU with units for bf16.

torch's fused call and its backward pass ask for the product of every 32 to 64 queries by itself, which costs more to set
up than to multiply. Here one call serves all heads of a sequence for as many queries as have their scores in cache.
Weights are kept for the backward pass where they are no more numbers than queries, keys, values and answers are, else
made again, so that memory grows with the length alone. Keys count from their mean, which changes no softmax and leaves
scores that lose less when they are rounded; the weights' slopes add up to 0, so neither does it change a gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...core.layout import Layout
from ...core.score import Score
from ..backend import Kernel
from ..check import Draw
from .attend_products import lacks, outgrown
from .attend_sdpa import CAUSAL, PLAIN

ROOM = 1 << 20  # scores held at a time
FEW, SHORT = 128, 512  # queries of a piece of a short causal sequence; others have twice as many


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
        return "the pieces would be traced one by one"
    why = lacks(q.device, q.dtype)
    if why is not None:
        return why
    if not (torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)):
        return "nothing to differentiate"
    if torch._C._len_torch_dispatch_stack() or torch._C._functorch.maybe_current_level() is not None:
        return "the operations are watched or transformed"
    if cap is not None or dropout > 0:
        return "weights are neither capped nor dropped here"
    if k.dtype != q.dtype or v.dtype != q.dtype or k.shape[1] != q.shape[1]:
        return "keys of another number format, or shared by several heads"
    if not (q_at.full and k_at.full):
        return "there is padding"
    causal = score == CAUSAL and q_at is k_at and q_at.pos.shape[-1] == 1
    if not causal and score != PLAIN:
        return "the score may hide or weigh some keys"
    return outgrown(q, k)


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
    out: Tensor = _Attend.apply(q, k, v, scale, score == CAUSAL)
    return out


class Piece(NamedTuple):
    """Some queries, the keys that they may look at, and how many of the last keys only the later ones may."""

    queries: slice
    keys: slice
    hides: int


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, causal: bool) -> Tensor:
        out = _like(q, v.shape[-1])
        q, v = q.contiguous(), v.contiguous()  # head by head, as products read them
        k = (k - k.mean(2, keepdim=True)).contiguous()
        pieces, tile = _pieces(q, k, causal)
        scores = sum((p.queries.stop - p.queries.start) * p.keys.stop for p in pieces) * q.shape[0] * q.shape[1]
        keep = scores <= q.numel() + k.numel() + v.numel() + out.numel()
        weights = []
        for row, heads in _groups(q, k, pieces):
            a, b, c, to = (x[row, heads] for x in (q, k, v, out))
            for piece in pieces:
                weight = _weights(a, b, piece, tile, scale)
                to[:, piece.queries] = torch.bmm(weight, c[:, piece.keys])
                if keep:
                    weights.append(weight)
        ctx.save_for_backward(q, k, v, *weights)
        ctx.scale, ctx.causal = scale, causal
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Any:
        q, k, v, *weights = ctx.saved_tensors
        slope = slope.contiguous()
        slopes = [_like(x, x.shape[-1]) for x in (q, k, v)]
        pieces, tile = _pieces(q, k, ctx.causal)
        kept = iter(weights)
        for row, heads in _groups(q, k, pieces):
            a, b, c, g = (x[row, heads] for x in (q, k, v, slope))
            of_q, of_k, of_v = (x[row, heads] for x in slopes)
            sums: list[Tensor] = []
            for piece in pieces:
                weight = next(kept) if weights else _weights(a, b, piece, tile, ctx.scale)
                some = g[:, piece.queries]
                bent = torch.bmm(some, c[:, piece.keys].mT)
                bent = torch._softmax_backward_data(bent, weight, -1, weight.dtype)
                of_q[:, piece.queries] = _product(bent, b[:, piece.keys], ctx.scale)
                parts = _product(bent.mT, a[:, piece.queries], ctx.scale), torch.bmm(weight.mT, some)
                if len(pieces) == 1:
                    sums = [*parts]
                elif not sums:  # the last queries come first: they look at all keys
                    sums = [part.to(torch.promote_types(part.dtype, torch.float32)) for part in parts]
                else:
                    for total, part in zip(sums, parts, strict=True):
                        total[:, piece.keys] += part
            of_k.copy_(sums[0])
            of_v.copy_(sums[1])
        return *slopes, None, None


def _pieces(q: Tensor, k: Tensor, causal: bool) -> tuple[list[Piece], Tensor]:
    """(pieces of the queries, the last ones first; what hides the keys after each query of a piece)."""
    length, keys = q.shape[2], k.shape[2]
    size = FEW if causal and length <= SHORT else 2 * FEW
    pieces = []
    for start in reversed(range(0, length, size)):
        stop = min(length, start + size)
        pieces.append(Piece(slice(start, stop), slice(0, stop if causal else keys), stop - start if causal else 0))
    return pieces, q.new_full((size, size), -torch.inf).triu_(1)


def _groups(q: Tensor, k: Tensor, pieces: list[Piece]) -> Iterator[tuple[int, slice]]:
    """Every sequence, and as many of its heads as have their scores held together."""
    most = max(p.queries.stop - p.queries.start for p in pieces) * k.shape[2]
    size = max(1, ROOM // most)
    for row in range(q.shape[0]):
        for start in range(0, q.shape[1], size):
            yield row, slice(start, start + size)


def _weights(q: Tensor, k: Tensor, piece: Piece, tile: Tensor, scale: float) -> Tensor:
    """q (H, T, E), k (H, S, E) of one group -> softmax (H, queries, keys) of a piece."""
    score = _product(q[:, piece.queries], k[:, piece.keys].mT, scale)
    if piece.hides:
        score[..., -piece.hides :] += tile[: piece.hides, : piece.hides]
    return torch._softmax(score, -1, False)  # plain softmax would be widened under autocast


def _product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    return torch.baddbmm(a.new_zeros(1, 1, 1), a, b, beta=0, alpha=scale)


def _like(x: Tensor, size: int) -> Tensor:
    """Room for (B, H, T, size), laid out token by token as linear maps answer."""
    batch, heads, length, _ = x.shape
    return x.new_empty(batch, length, heads, size).transpose(1, 2)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), Layout.dense(2, 140, device=device)
    return draw(2, 2, 140, 8), draw(2, 2, 140, 8), draw(2, 2, 140, 8), CAUSAL, at, at, 0.35


TRAINED = Kernel("trained", refuses, run, sample, lacks)
