"""gated_linear on a GPU: as in blocks, but the decays of a block's pairs are never written to memory.

In plain torch they are c numbers for every number of a key, in blocks of c tokens. Here they live in registers, so that
blocks can be longer and fewer sums are carried.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ..backend import Kernel
from .gated_linear_blocks import again, mix
from .triton_here import lacks

SIZE = 64  # tokens per block
WARPS = 8


def refuses(q: Tensor, k: Tensor, v: Tensor, fall: Tensor, at: Layout, s: Tensor | None) -> str | None:
    if q.shape[2] == 1:
        return "one token: the formula itself is fastest"
    return lacks(v.device, v.dtype)


def run(q: Tensor, k: Tensor, v: Tensor, fall: Tensor, at: Layout, s: Tensor | None) -> tuple[Tensor, Tensor]:
    return mix(q, k, v, fall, at, s, SIZE, _Weigh.apply)


class _Weigh(torch.autograd.Function):
    """`weigh` of gated_linear_blocks."""

    @staticmethod
    def forward(ctx: Any, q, k, since, inside):
        from . import gated_linear_jit as jit

        q, k, since, inside = (x.contiguous() for x in (q, k, since, inside))
        out = q.new_empty(*q.shape[:-1], q.shape[-2])
        jit.weigh[(out.shape[:-2].numel(),)](q, k, since, inside, out, *_sizes(q, inside), num_warps=WARPS)
        ctx.save_for_backward(q, k, since, inside)
        return out

    @staticmethod
    def backward(ctx: Any, push):
        from . import gated_linear_jit as jit

        if torch.is_grad_enabled():  # a second derivative is wanted
            return again(ctx.saved_tensors, push)
        q, k, since, inside = ctx.saved_tensors
        push, dq, dk = push.contiguous(), torch.empty_like(q), torch.empty_like(k)
        sizes = _sizes(q, inside)
        jit.slopes[(q.shape[:-2].numel(),)](q, k, since, inside, push, dq, dk, *sizes, num_warps=WARPS)
        return dq, dk, q * dq - k * dk, None


def _sizes(q: Tensor, inside: Tensor) -> tuple[int, ...]:
    """Tokens of a block, blocks of a head, blocks of a row, strides of the mask by row and by block, E, its tile."""
    _, heads, blocks, tokens, width = q.shape
    rows, _, shared = inside.shape[:3] if inside.dim() == 5 else (1, 1, 1)
    by_block = tokens * tokens if shared > 1 else 0
    by_row = shared * tokens * tokens if rows > 1 else 0
    return tokens, blocks, heads * blocks, by_row, by_block, width, max(16, 1 << (tokens - 1).bit_length())


TRITON = Kernel("triton", refuses, run, lacks=lacks)
