"""y_t = sum_s h_(t-s) x_s for every channel alone, within the sequence of token t, by filters as long as sequences are.

A filter h (D, K) says the weights of the distances -ahead to K - 1 - ahead, from a token after t to one before it;
beyond them it is 0. `ahead` = 0 looks only back. A filter of a few taps is faster in `conv`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.grow import grown, tail
from ..core.layout import Layout
from .backend import Operator
from .check import Draw
from .conv import lined, pick
from .kernels.long_conv_fft import FFT
from .kernels.long_conv_sums import SUMS


def reference(x: Tensor, h: Tensor, ahead: int, new: int) -> Tensor:
    """x (N, L, D), h (D, K) -> y (N, new, D) at the last `new` places of N sequences: a Toeplitz matrix per channel.

    Products are of float32 at least; y comes back in the type of x.
    """
    length, taps = x.shape[1], h.shape[1]
    wide = torch.promote_types(torch.promote_types(x.dtype, h.dtype), torch.float32)
    place = torch.arange(length, device=x.device)
    tap = place[length - new :, None] - place + ahead  # (new, L)
    inside = (tap >= 0) & (tap < taps)
    matrix = h.to(wide)[:, tap.clamp(0, taps - 1)].masked_fill(~inside, 0)  # (D, new, L)
    return (matrix @ x.to(wide).permute(2, 1, 0)).permute(2, 1, 0).to(x.dtype)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw = Draw(device, dtype)
    return draw(2, 70, 3), draw(3, 45) / 6, 11, 53


convolve = Operator("long_conv", reference, SUMS, FFT, sample=sample)


def long_conv(x: Tensor, h: Tensor, at: Layout, ahead: int = 0) -> Tensor:
    """x (B, T, D), h (D, K) -> (B, T, D), zeros at padding. Sequences of a packed row do not see each other."""
    rows = at.to_rows(x)
    return at.from_rows(convolve(rows, h, ahead, rows.shape[1]))


def long_conv_chunk(x: Tensor, h: Tensor, at: Layout, past: Tensor) -> tuple[Tensor, Tensor]:
    """The causal form for the next tokens of B sequences, padding anywhere; x is clean there.

    past (B, P, D): the valid tokens so far, the newest last, zeros before the first -> (y (B, T, D), past). No state of
    one size says what an arbitrary filter has yet to do with them, so the newest K are kept, B D numbers a token; a
    caller whose filter does not end gives taps for all, K >= P + T, and all stay.
    """
    have, taps = past.shape[1], h.shape[1]
    if at.full:
        line = grown(past, x, 1)
        y = convolve(line, h, 0, at.length)
    else:
        line, place = lined(x, at, past)
        assert place is not None
        y = at.clean(pick(convolve(line, h, 0, at.length), place))
        count = at.valid.sum(1, keepdim=True)  # the line goes on to the newest token of each row
        newest = count + torch.arange(have + at.length, device=x.device)
        line = pick(F.pad(line, (0, 0, at.length, 0)), newest)
    return y, tail(line, 1, line.shape[1] - taps) if taps < line.shape[1] else line
