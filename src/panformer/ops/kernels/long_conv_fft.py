"""long_conv by Fourier transforms: O(L log L) a channel.

Of a cycle of tokens only those places are read that nothing wraps around onto, so the new tokens of a stream cost a
cycle of all that is kept and no more (overlap-save). As in any fast convolution an answer is exact to the rounding of
the largest one; so a causal one holds, below its own rounding, a trace of later tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..backend import Kernel

LEAST = 32  # tokens under which the matrix, which lets nothing through, costs little more


def refuses(x: Tensor, h: Tensor, ahead: int, new: int) -> str | None:
    return f"under {LEAST} tokens the matrix costs little more" if x.shape[1] < LEAST else None


def run(x: Tensor, h: Tensor, ahead: int, new: int) -> Tensor:
    wide = torch.promote_types(torch.promote_types(x.dtype, h.dtype), torch.float32)
    return convolved(x.mT.to(wide).contiguous(), h.to(wide), ahead, new).mT.to(x.dtype)


def convolved(x: Tensor, h: Tensor, ahead: int, new: int) -> Tensor:
    """sum_s h_(t-s) x_s at the last `new` of L places: x (..., L), h (..., K) from distance -ahead on -> (..., new).

    The tokens lie last, side by side: transforms over strides are ten times slower.
    """
    length = x.shape[-1]
    first, end = max(0, ahead - length + 1), min(h.shape[-1], ahead + length)  # the other taps meet no token
    first = min(first, end - 1)
    h, ahead = h[..., first:end], ahead - first
    start = length - new + ahead  # where the answers begin in the whole convolution
    size = fast(max(start + new, length + h.shape[-1] - 1 - start))  # what wraps around ends before `start`
    found: Tensor = _Cyclic.apply(x, h, size, start, new)
    return found


class _Cyclic(torch.autograd.Function):
    """The places start to start + new of a convolution in a cycle of `size`: x (..., L), h (..., K) -> (..., new).

    Gradients are convolutions with what is reversed in time, by transforms of real numbers as well, where those of torch
    are of complex ones; spectra are made again, which costs less than to keep them.
    """

    @staticmethod
    def forward(ctx: Any, x, h, size, start, new):
        ctx.save_for_backward(x, h)
        ctx.size, ctx.start = size, start
        waves = torch.fft.rfft(h, size) * torch.fft.rfft(x, size)
        return torch.fft.irfft(waves, size)[..., start : start + new]

    @staticmethod
    def backward(ctx: Any, push):
        x, h = ctx.saved_tensors
        size, start = ctx.size, ctx.start
        asked = torch.fft.rfft(F.pad(push, (start, size - start - push.shape[-1])), size)

        def gradient(like: Tensor, other: Tensor) -> Tensor:
            waves = asked * torch.fft.rfft(other, size).conj()
            waves = waves.sum_to_size(*like.shape[:-1], waves.shape[-1])
            return torch.fft.irfft(waves, size)[..., : like.shape[-1]]

        wanted = ctx.needs_input_grad
        return gradient(x, h) if wanted[0] else None, gradient(h, x) if wanted[1] else None, None, None, None


def fast(n: int) -> int:
    """The least size of a quick transform that is at least n: 1, 3, 5, 9 or 15 times a power of 2."""
    return min(m << max(0, (-(-n // m) - 1).bit_length()) for m in (1, 3, 5, 9, 15))


FFT = Kernel("fft", refuses, run)
