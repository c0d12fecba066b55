"""A convolution along the values, which some kinds of attention add to what they gather."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.layout import Layout
from ..ops.conv import headwise


def value_kernel(heads: int, size: int | None) -> nn.Parameter | None:
    """(H, K): one kernel along the tokens for each head, or none without a size."""
    if size is None:
        return None
    if size % 2 == 0:
        raise InputError(f"conv must be odd, so that a token is in its middle; got {size}")
    return nn.Parameter(torch.randn(heads, size) * size**-0.5)


def along_values(v: Tensor, kernel: Tensor, at: Layout) -> Tensor:
    """v (B, T, H*E) convolved along each sequence, all channels of a head by the head's kernel (H, K)."""
    return headwise(at.clean(v), kernel, at, kernel.shape[1] // 2)
