"""toeplitz_linear by Fourier transforms: sum_j c_(i-j) (k_j value_j') is a convolution of E V channels.

O(L log L) work for sequences of L tokens and E V times the memory of one channel. As in any fast convolution a weight
is exact to the rounding of the largest one; so a causal answer holds, below its own rounding, a trace of later tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.layout import Layout
from ..backend import Kernel
from .long_conv_fft import convolved

LEAST = 256  # tokens of the longest sequence under which the matrix is faster whatever the width
WIDE = 3  # tokens for each of the E V channels under which it is: measured for heads 8 to 64 wide


def refuses(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, at: Layout, causal: bool) -> str | None:
    least = max(LEAST, WIDE * k.shape[-1] * v.shape[-1])
    return f"under {least} tokens the matrix is faster" if at.longest < least else None


def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, at: Layout, causal: bool) -> Tensor:
    q, k, v = (at.to_rows(z.transpose(1, 2)).permute(0, 2, 3, 1) for z in (q, k, v))  # (N, H, ..., L)
    length, middle = q.shape[3], bias.shape[1] // 2
    wide = torch.promote_types(q.dtype, torch.float32)  # half precision has no transform on every device
    outer = (k.to(wide)[:, :, :, None] * v.to(wide)[:, :, None]).contiguous()  # (N, H, E, V, L)
    far = bias[:, middle + (0 if causal else 1 - length) : middle + length].to(wide).exp()  # (H, distances)
    sums = convolved(outer, far[:, None, None], 0 if causal else length - 1, length)
    y = (q.to(wide)[:, :, :, None] * sums).sum(2)
    return at.from_rows(y.to(q.dtype).permute(0, 3, 1, 2)).transpose(1, 2)


FFT = Kernel("fft", refuses, run)
