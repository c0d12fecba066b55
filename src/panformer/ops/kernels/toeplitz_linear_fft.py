"""toeplitz_linear by Fourier transforms: sum_j c_(i-j) (k_j value_j') is a convolution of E V channels.

O(L log L) work for sequences of L tokens and E V times the memory of one channel. As in any fast convolution a weight
is exact to the rounding of the largest one; so a causal answer holds, below its own rounding, a trace of later tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.layout import Layout
from ..backend import Kernel

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
    sums = convolve(outer, bias[:, middle + 1 - length : middle + length].to(wide).exp(), causal)
    y = (q.to(wide)[:, :, :, None] * sums).sum(2)
    return at.from_rows(y.to(q.dtype).permute(0, 3, 1, 2)).transpose(1, 2)


def convolve(x: Tensor, c: Tensor, causal: bool) -> Tensor:
    """sum_j c_(i-j) x_j: x (N, H, E, V, L), c (H, 2 L - 1) at the distances 1 - L to L - 1 -> as x.

    The tokens lie last, side by side: transforms over strides are ten times slower.
    """
    length = x.shape[-1]
    size = 2 * length  # of a cycle in which nothing wraps around onto the answer
    behind, ahead = c[:, length - 1 :], c[:, : length - 1]  # distances 0 .. L - 1, and 1 - L .. -1
    ring = F.pad(behind, (0, size - length)) if causal else torch.cat([F.pad(behind, (0, 1)), ahead], 1)
    waves = torch.fft.rfft(ring)[:, None, None] * torch.fft.rfft(x, size)
    return torch.fft.irfft(waves, size)[..., :length]


FFT = Kernel("fft", refuses, run)
