"""x W' + b and its gradients, by the fastest product of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

LEAST = 1 << 22  # multiplications under which the way there costs more than it saves
PLAIN = "none", "ieee"  # what torch's setting for oneDNN's products says where nobody asks for fewer digits


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


class _Asked:
    """How many now ask for oneDNN, and what its setting was before the first of them."""

    lock = Lock()
    times = 0
    before = ""


@contextmanager
def on_onednn() -> Iterator[None]:
    """Batched products in fp32 run on oneDNN meanwhile, where that is faster and keeps all digits.

    torch's only way there is to allow oneDNN to round to bf16, which it does on processors with matrix units for bf16.
    On others it keeps fp32, which is tried once. The setting is the process's, so products of other threads may run there
    too. Whoever has set it to fewer digits keeps that.
    """
    watched = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack()  # what is tried would be seen
    if watched or not _gains() or not _keeps_digits():
        yield
        return
    with _Asked.lock:
        if not _Asked.times:
            _Asked.before = _setting()
        if _Asked.before in PLAIN:
            _set("bf16")
        _Asked.times += 1
    try:
        yield
    finally:
        with _Asked.lock:
            _Asked.times -= 1
            if not _Asked.times and _Asked.before in PLAIN:
                _set(_Asked.before)


@cache
def _keeps_digits() -> bool:
    """Whether products in fp32 keep their digits although they may lose them."""
    if not hasattr(torch._C, "_set_fp32_precision_setter") or torch.cpu._is_amx_tile_supported():
        return False  # before torch 2.9, or with units that take bf16
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        x = 1 + torch.linspace(0, 1, 2 * 64 * 576, dtype=torch.float64, device="cpu").view(2, 64, 576)
        y = x.float()
        before = _setting()
        _set("bf16")
        try:
            near, far = torch.bmm(y[..., :64], y), torch.bmm(y, y.mT)
        finally:
            _set(before)
    want = torch.bmm(x[..., :64], x), torch.bmm(x, x.mT)
    return all(bool(((a - b).abs() <= 1e-5 * b).all()) for a, b in zip((near, far), want, strict=True))


def _setting() -> str:
    return str(torch._C._get_fp32_precision_getter("mkldnn", "matmul"))


def _set(precision: str) -> None:
    torch._C._set_fp32_precision_setter("mkldnn", "matmul", precision)
