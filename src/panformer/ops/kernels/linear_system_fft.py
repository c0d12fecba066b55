"""linear_system by Fourier transforms: the memory is the convolution of the signals with the impulse response.

The response costs N^2 a token once, whatever the batch, and the rest N log L a token, where blocks take N^2 for every
sequence. As in any fast convolution a memory is exact to the rounding of the largest one; so it holds, below its own
rounding, a trace of later tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.layout import Layout
from ..backend import Kernel
from .linear_system_blocks import newest, responses
from .long_conv_fft import convolved

LEAST = 64  # tokens of the longest sequence: under it blocks are about as fast, and see nothing of later tokens


def refuses(u: Tensor, a: Tensor, b: Tensor, at: Layout, m: Tensor | None) -> str | None:
    if m is not None:
        return "a memory that goes on is no convolution"
    return f"under {LEAST} tokens blocks are as fast" if at.longest < LEAST else None


def run(u: Tensor, a: Tensor, b: Tensor, at: Layout, m: Tensor | None) -> tuple[Tensor, Tensor]:
    wide = torch.promote_types(u.dtype, torch.float32)  # half precision has no transform on every device
    line = at.to_rows(u).to(wide).permute(2, 0, 1)[:, :, None]  # (E, N, 1, L): every signal meets every response
    length = line.shape[3]
    memory = convolved(line, responses(a.to(wide), b.to(wide), length).mT.contiguous(), 0, length)
    states = at.from_rows(memory.permute(1, 3, 0, 2))
    return states.to(u.dtype), newest(states, at, None)


FFT = Kernel("fft", refuses, run)
