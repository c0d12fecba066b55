"""cross_entropy over large vocabularies in bf16 on a CPU, some rows at a time.

Neither logits in fp32 nor their softmax are ever whole: a few rows are widened in cache, nothing but the logits is kept, and
the slope is written once, in their number format.
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


def lacks(device: torch.device, dtype: torch.dtype) -> str | None:
    if device.type == "cpu" and dtype == torch.bfloat16:
        return None
    return "not in bf16 on a CPU: without a change of format the plain form is as quick"


def refuses(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> str | None:
    why = lacks(logits.device, logits.dtype)
    if why is not None:
        return why
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
        out = logits.new_empty(len(logits), dtype=torch.float32)
        for rows in _pieces(logits):
            out[rows] = torch._log_softmax(logits[rows].float(), 1, False).gather(1, index[rows])[:, 0]
        ctx.save_for_backward(logits, index, asked)
        return torch.where(asked, -out, 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Any:
        logits, index, asked = ctx.saved_tensors
        out = torch.empty_like(logits)
        factor = torch.where(asked, slope, 0)[:, None]
        for rows in _pieces(logits):
            part = torch._softmax(logits[rows].float(), 1, False)
            part.scatter_add_(1, index[rows], part.new_full((len(part), 1), -1.0))
            out[rows] = part.mul_(factor[rows])
            if not asked[rows].all():
                out[rows].masked_fill_(~asked[rows, None], 0)  # also where a logit is no number
        return out, None


def _pieces(logits: Tensor) -> Iterator[slice]:
    size = max(1, ROOM // logits.shape[1])
    for start in range(0, len(logits), size):
        yield slice(start, start + size)


ROWS = Kernel("rows", refuses, run, lacks=lacks)
