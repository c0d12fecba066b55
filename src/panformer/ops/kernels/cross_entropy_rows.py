"""cross_entropy over large vocabularies on a CPU, some rows at a time.

Neither logits in fp32 nor their softmax are ever whole: a few rows are widened in cache, only the logarithm of each row's
sum is kept, and the slope is written once, in the number format of the logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..backend import Kernel

LEAST = 1 << 20  # logits under which the plain form is as quick
ROOM = 1 << 18  # of them at a time


def refuses(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> str | None:
    if logits.device.type != "cpu" or logits.dtype not in (torch.float32, torch.bfloat16):
        return "neither in fp32 nor in bf16 on a CPU"
    if smoothing > 0:
        return "targets are not smoothed here"
    if logits.numel() < LEAST:
        return f"fewer than {LEAST} logits"
    if torch.compiler.is_compiling():
        return "the rows would be traced one by one"
    if torch._C._len_torch_dispatch_stack() or torch._C._functorch.maybe_current_level() is not None:
        return "the operations are watched or transformed"
    return None


def run(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    out: Tensor = _CrossEntropy.apply(logits, target)
    return out


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> Tensor:
        asked = target >= 0
        index = target.clamp(min=0)[:, None]
        total = logits.new_empty(len(logits), dtype=torch.float32)
        for rows in _pieces(logits):
            total[rows] = logits[rows].float().logsumexp(1)
        ctx.save_for_backward(logits, index, asked, total)
        return torch.where(asked, total - logits.gather(1, index)[:, 0].float(), 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Any:
        logits, index, asked, total = ctx.saved_tensors
        out = torch.empty_like(logits)
        factor = torch.where(asked, slope, 0)[:, None]
        for rows in _pieces(logits):
            part = logits[rows].float() - total[rows, None]
            part.exp_().scatter_add_(1, index[rows], part.new_full((len(part), 1), -1.0))
            torch.mul(part, factor[rows], out=out[rows])
            if not asked[rows].all():
                out[rows].masked_fill_(~asked[rows, None], 0)  # also where a logit is no number
        return out, None


def _pieces(logits: Tensor) -> Iterator[slice]:
    size = max(1, ROOM // logits.shape[1])
    for start in range(0, len(logits), size):
        yield slice(start, start + size)


ROWS = Kernel("rows", refuses, run)
