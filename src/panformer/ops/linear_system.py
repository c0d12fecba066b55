"""m_t = A m_{t-1} + B u_t for every signal of a sequence alone, with one dense A for all tokens and signals.

The memory of a linear system that does not change in time: token by token, in blocks of tokens, or as the convolution
of the signals with the impulse response B, A B, A A B, ... Chilkuri & Eliasmith 2021, Parallelizing Legendre memory
unit training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.layout import Layout
from .backend import Operator
from .check import Draw, mixed
from .kernels.linear_system_blocks import BLOCKS
from .kernels.linear_system_fft import FFT
from .legendre import held, legendre
from .scan import loop


def reference(u: Tensor, a: Tensor, b: Tensor, at: Layout, m: Tensor | None) -> tuple[Tensor, Tensor]:
    """u (B, T, E), a (N, N), b (N,) -> m (B, T, E, N), 0 at padding, and each row's last m (B, E, N).

    With m, the memory so far, each row is the next tokens of one sequence; without it every sequence starts from
    nothing. Padding, anywhere, leaves the memory as it is. Numbers narrower than float32 are summed in float32; m comes
    back in the type of u.
    """
    xs, now = _told(u, a, at, m)
    a, b = a.to(now.dtype), b.to(now.dtype)
    path = []
    for t in range(u.shape[1]):
        now = _advance(now, tuple(x[:, t] for x in xs), a, b)
        path.append(now)
    return at.clean(torch.stack(path, 1)).to(u.dtype), now


def traced(u: Tensor, a: Tensor, b: Tensor, at: Layout, m: Tensor | None) -> tuple[Tensor, Tensor]:
    """`reference` with its loop over time as one operation of the graph, for any number of tokens."""
    xs, now = _told(u, a, at, m)
    a, b = a.to(now.dtype), b.to(now.dtype)
    last, path = loop(lambda now, new: _advance(now, new, a, b), now, xs)
    return at.clean(path).to(u.dtype), last


def _told(u: Tensor, a: Tensor, at: Layout, m: Tensor | None) -> tuple[tuple[Tensor, ...], Tensor]:
    """((signals, which tokens start, which are real), each (B, T, ...); the memory before the first)."""
    wide = torch.promote_types(u.dtype, torch.float32)
    starts = at.starts if m is None else torch.zeros_like(at.valid)
    now = u.new_zeros(len(u), u.shape[2], len(a), dtype=wide) if m is None else m.to(wide)
    return (at.clean(u).to(wide)[..., None], starts[..., None, None], at.valid[..., None, None]), now


def _advance(m: Tensor, now: tuple[Tensor, ...], a: Tensor, b: Tensor) -> Tensor:
    u, start, real = now
    return torch.where(real, m.masked_fill(start, 0) @ a.mT + u * b, m)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    at, draw = mixed(device), Draw(device, dtype)
    a, b = (z.to(device, dtype) for z in held(*legendre(5, 12.0)))
    return draw(at.batch, at.length, 2), a, b, at, None


linear_system = Operator("linear_system", reference, FFT, BLOCKS, traced=traced, sample=sample)
