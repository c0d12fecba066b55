"""Device code of `gated_linear_triton`, imported where Triton is.

q, k, since (M, c, E) in float32, weights (M, c, c), for M blocks of c tokens; keep (B|1, n|1, c, c) is not 0 where a
query and a key of block n of a row are of one sequence and the key is not later.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _kept(keep, tokens, blocks, per_row, row_stride, block_stride, SIZE: tl.constexpr):
    """(SIZE, SIZE) bool of this program's block."""
    m = tl.program_id(0)
    i = tl.arange(0, SIZE)
    there = (i < tokens)[:, None] & (i < tokens)[None, :]
    at = (m // per_row) * row_stride + (m % blocks) * block_stride + i[:, None] * tokens + i[None, :]
    return tl.load(keep + at, mask=there, other=0) != 0


@triton.jit
def weigh(
    q, k, since, keep, out, tokens, blocks, per_row, row_stride, block_stride, WIDTH: tl.constexpr, SIZE: tl.constexpr
):
    """out_ij = sum_e q_ie k_je exp(since_ie - since_je)"""
    m = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, SIZE)
    here = _kept(keep, tokens, blocks, per_row, row_stride, block_stride, SIZE)
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for e in range(WIDTH):
        at = (m * tokens + i) * WIDTH + e
        s = tl.load(since + at, mask=i < tokens, other=0)
        a = tl.load(q + at, mask=i < tokens, other=0)
        b = tl.load(k + at, mask=i < tokens, other=0)
        near = tl.exp(tl.where(here, s[:, None] - s[None, :], float("-inf")))
        total += a[:, None] * b[None, :] * near
    to = m * tokens * tokens + i[:, None] * tokens + i[None, :]
    tl.store(out + to, total, mask=(i < tokens)[:, None] & (i < tokens)[None, :])


@triton.jit
def slopes(
    q, k, since, keep, push, dq, dk, tokens, blocks, per_row, row_stride, block_stride,
    WIDTH: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """dq_ie = sum_j push_ij k_je near_ije and dk_je = sum_i push_ij q_ie near_ije"""
    m = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, SIZE)
    here = _kept(keep, tokens, blocks, per_row, row_stride, block_stride, SIZE)
    to = m * tokens * tokens + i[:, None] * tokens + i[None, :]
    g = tl.load(push + to, mask=here, other=0)
    for e in range(WIDTH):
        at = (m * tokens + i) * WIDTH + e
        s = tl.load(since + at, mask=i < tokens, other=0)
        a = tl.load(q + at, mask=i < tokens, other=0)
        b = tl.load(k + at, mask=i < tokens, other=0)
        near = tl.exp(tl.where(here, s[:, None] - s[None, :], float("-inf"))) * g
        tl.store(dq + at, tl.sum(near * b[None, :], 1), mask=i < tokens)
        tl.store(dk + at, tl.sum(near * a[:, None], 0), mask=i < tokens)
