"""toeplitz_linear by Fourier transforms: sum_j c_(i-j) (k_j value_j') is a convolution of E V channels.

O(L log L) work for sequences of L tokens. The tokens lie last, side by side. As in any fast convolution a weight
is exact to the rounding of the largest one; so a causal answer holds, below its own rounding, a trace of later tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ..backend import Kernel
from .long_conv_fft import fast
from .room import at_once

LEAST = 256  # tokens of the longest sequence under which the matrix is faster whatever the width
WIDE = 3  # tokens for each of the E V channels under which it is: measured for heads 8 to 64 wide


def refuses(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, at: Layout, causal: bool) -> str | None:
    least = max(LEAST, WIDE * k.shape[-1] * v.shape[-1])
    return f"under {least} tokens the matrix is faster" if at.longest < least else None


def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, at: Layout, causal: bool) -> Tensor:
    q, k, v = (at.to_rows(z.transpose(1, 2)).permute(0, 2, 3, 1) for z in (q, k, v))  # (N, H, ..., L)
    length, middle = q.shape[3], bias.shape[1] // 2
    wide = torch.promote_types(q.dtype, torch.float32)  # half precision has no transform on every device
    far = bias[:, middle + (0 if causal else 1 - length) : middle + length].to(wide).exp()  # (H, distances)
    y = torch.stack(
        [_Sums.apply(*z) for z in zip(q.unbind(1), k.unbind(1), v.unbind(1), far.unbind(0), strict=True)], 1
    )
    return at.from_rows(y.permute(0, 3, 1, 2)).transpose(1, 2)


class _Sums(torch.autograd.Function):
    """One head: q, k (N, E, L), v (N, V, L), far (distances) -> (N, V, L), a few of the E V channels at a time.

    The backward pass makes the transforms again: of E V channels nothing is kept.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, far: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v, far)
        cycle, wide = _Cycle(far, q.shape[2]), far.dtype
        y, value = v.new_zeros(v.shape, dtype=wide), v.to(wide)[:, None]
        for here in cycle.strips(k.shape[1], v.shape[1]):
            y += (_wide(q, here, wide) * cycle.back(cycle.to(_wide(k, here, wide) * value) * cycle.taps)).sum(1)
        return y.to(q.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
        q, k, v, far = ctx.saved_tensors
        cycle, wide = _Cycle(far, q.shape[2]), far.dtype
        g, value = g.to(wide)[:, None], v.to(wide)[:, None]
        g_q, g_k, g_v, g_taps = [], [], torch.zeros_like(v, dtype=wide), torch.zeros_like(cycle.taps)
        for here in cycle.strips(k.shape[1], v.shape[1]):
            key = _wide(k, here, wide)
            put, pull = cycle.to(key * value), cycle.to(_wide(q, here, wide) * g)
            g_q.append((cycle.back(put * cycle.taps) * g).sum(2))
            slope = cycle.back(pull * cycle.taps.conj())
            g_k.append((slope * value).sum(2))
            g_v += (slope * key).sum(1)
            g_taps += (pull * put.conj()).sum((0, 1, 2))
        return torch.cat(g_q, 1).to(q.dtype), torch.cat(g_k, 1).to(k.dtype), g_v.to(v.dtype), cycle.at_distances(g_taps)


class _Cycle:
    """Sequences of `length` tokens on a cycle of which nothing wraps around onto them; the distance d is at place d."""

    def __init__(self, far: Tensor, length: int) -> None:
        self.length, self.size = length, fast(2 * length - 1)
        self.place = torch.arange(length - len(far), length, device=far.device) % self.size
        self.taps = torch.fft.rfft(far.new_zeros(self.size).index_copy(0, self.place, far))

    def strips(self, keys: int, values: int) -> list[slice]:
        """Some of the keys' channels at a time, with all of the values'."""
        many = at_once(values * self.size, self.place.device)
        return [slice(i, i + many) for i in range(0, keys, many)]

    def to(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(x, self.size)

    def back(self, waves: Tensor) -> Tensor:
        return torch.fft.irfft(waves, self.size)[..., : self.length]

    def at_distances(self, waves: Tensor) -> Tensor:
        return torch.fft.irfft(waves, self.size)[self.place]


def _wide(x: Tensor, here: slice, wide: torch.dtype) -> Tensor:
    """x (N, E, L) -> (N, e, 1, L)."""
    return x[:, here].to(wide)[:, :, None]


FFT = Kernel("fft", refuses, run)
