"""y_i = sum_j exp(bias_(i-j)) (q_i . k_j) value_j: linear attention whose weights also follow the distance.

Luo et al. 2021, Stable, fast and accurate: kernelized attention with relative positional encoding. The sums are not
normalised: a mixer that wants the average gives the values one more column of ones and divides. Distances count
tokens within a sequence.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.layout import Layout
from .backend import Operator
from .check import Draw, mixed
from .kernels.toeplitz_linear_fft import FFT
from .sequences import places


def reference(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, at: Layout, causal: bool) -> Tensor:
    """q, k (B, H, T, E), v (B, H, T, V), bias (H, 2 L - 1) at the distances 1 - L to L - 1 -> (B, H, T, V).

    By the T x T matrix; L is the longest sequence, or more. Zeros at padding.
    """
    place = places(at)
    same = (at.ordinal[:, :, None] == at.ordinal[:, None]) & at.valid[:, None]
    apart = torch.where(same, place[:, :, None] - place[:, None], 0)  # (B, T, T)
    keep = (same & (apart >= 0) if causal else same)[:, None]
    far = bias.exp()[:, apart + bias.shape[1] // 2].transpose(0, 1)
    return (q @ k.mT * far).masked_fill(~keep, 0) @ v


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    at, draw = mixed(device), Draw(device, dtype)
    q, k, v = (draw(at.batch, 2, at.length, n) / 2 for n in (3, 3, 4))
    return q, k, v, draw(2, 2 * at.longest + 1), at, True


toeplitz_linear = Operator("toeplitz_linear", reference, FFT, sample=sample)
