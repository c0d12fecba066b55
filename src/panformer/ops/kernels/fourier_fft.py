"""fourier by fast transforms: O(T log T), sequences of one length together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ..backend import Kernel


def refuses(x: Tensor, at: Layout) -> str | None:
    return None


def run(x: Tensor, at: Layout) -> Tensor:
    if at.full:
        return _Mix.apply(x)
    flat = x.flatten(0, 1)
    out = torch.zeros_like(flat)
    for index in at.derive("by length", lambda: _by_length(at)):
        rows = flat.index_select(0, index.flatten()).unflatten(0, index.shape)
        out = out.index_copy(0, index.flatten(), _Mix.apply(rows).flatten(0, 1))
    return out.view_as(x)


class _Mix(torch.autograd.Function):
    """Re(F_T x F_D) of (M, L, D). Its own transpose: nothing is kept, and any derivative is one more call."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # half precision has no transform on every device
        return torch.fft.fft2(wide, dim=(1, 2)).real.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return _Mix.apply(g)


def _by_length(at: Layout) -> list[Tensor]:
    """One (M, L) for each length L that occurs: where the tokens of its M sequences stand among all B * T."""
    index, _ = at.rows
    return [index[at.lengths == n, :n] for n in at.lengths.unique().tolist()]


FFT = Kernel("fft", refuses, run)
