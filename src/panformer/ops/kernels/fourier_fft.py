"""fourier by fast transforms: O(T log T), sequences of one length together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ..backend import Kernel
from ..sequences import by_length


def refuses(x: Tensor, at: Layout) -> str | None:
    return None


def run(x: Tensor, at: Layout) -> Tensor:
    return by_length(x, at, _Mix.apply)


class _Mix(torch.autograd.Function):
    """Re(F_T x F_D) of (M, L, D). Its own transpose: nothing is kept, and any derivative is one more call."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # half precision has no transform on every device
        return torch.fft.fft2(wide, dim=(1, 2)).real.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return _Mix.apply(g)


FFT = Kernel("fft", refuses, run)
