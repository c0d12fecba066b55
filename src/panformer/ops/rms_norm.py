"""Vectors of one length, up to a weight."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis.

    Where nothing is to be differentiated, by the norm of x: on a CPU torch's own is made of a dozen operations, which
    a decoder feels at every token.
    """
    few = x.dtype in (torch.float32, torch.float64) and x.device.type == "cpu" and not torch.compiler.is_compiling()
    if not few or torch.is_grad_enabled():
        return F.rms_norm(x, weight.shape, weight, eps)
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    scale = torch.addcmul(_number(eps, x.dtype), size, size, value=1 / x.shape[-1]).rsqrt_()
    return x.mul(scale).mul_(weight)


def crms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """x / sqrt((sum x^2 + (sum x)^2) / (width + 1) + eps) * weight over the last axis."""
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    size, total = torch.linalg.vector_norm(wide, dim=-1, keepdim=True), wide.sum(-1, keepdim=True)
    scale = ((size.square() + total.square()) / (x.shape[-1] + 1) + eps).rsqrt()
    out = wide * scale
    if weight is not None:
        out = out * weight if torch.is_grad_enabled() else out.mul_(weight)
    return out.to(x.dtype)


@cache
def _number(value: float, dtype: torch.dtype) -> Tensor:
    return torch.tensor([value], dtype=dtype, device="cpu")
