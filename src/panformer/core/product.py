"""x W' + b and its gradients, by the fastest product of the machine."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

LEAST = 1 << 22  # multiplications under which the way there costs more than it saves


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., K), weight (N, K), bias (N,) -> (..., N), differentiable.

    In fp32 torch leaves the product to MKL, which uses half of an AMD processor's vector units; oneDNN, which torch
    brings along, uses all. Products there and those of their gradients run on oneDNN: the same sums, in another order.
    """
    if refuses(x, weight, bias) is None:
        out: Tensor = _Product.apply(x, weight, bias)
        return out
    return F.linear(x, weight, bias)


def refuses(x: Tensor, weight: Tensor, bias: Tensor | None) -> str | None:
    """Why torch's own product serves this call, or None."""
    if torch.compiler.is_compiling():
        return "it is being traced"
    if x.device.type != "cpu" or x.dtype != torch.float32 or weight.dtype != torch.float32:
        return "not in fp32 on a CPU"
    if not _gains():
        return "torch's product uses the whole processor"
    if x.numel() * weight.shape[0] < LEAST:
        return f"fewer than {LEAST} multiplications"
    if torch.is_autocast_enabled("cpu"):
        return "autocast chooses the number format"
    if any(type(t) not in (Tensor, torch.nn.Parameter) for t in (x, weight, bias) if t is not None):
        return "tensors of another kind"
    if torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack():
        return "the operations are watched"
    if torch._C._functorch.maybe_current_level() is not None or forward_ad._current_level >= 0:
        return "it is being transformed"
    return None


@cache
def _gains() -> bool:
    """Whether this is no Intel processor, with vectors of 512 bits."""
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkl.is_available():
        return False
    try:
        known = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "AuthenticAMD" in known and torch.backends.cpu.get_cpu_capability() == "AVX512"


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows = _rows(x)
        ctx.save_for_backward(rows, weight)
        return _times(rows, weight, bias).view(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        rows, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        times = F.linear if torch.is_grad_enabled() else _times  # the former where gradients have gradients
        g = _rows(slope)
        return (
            times(g, weight.t()).view(*slope.shape[:-1], weight.shape[1]) if of_x else None,
            times(g.t(), rows.t()) if of_weight else None,
            g.sum(0) if of_bias else None,
        )


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1]).contiguous()


def _times(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (M, K), weight (N, K), either of them transposed in memory -> (M, N)."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return out
