"""-log softmax(logits)[target], row by row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .backend import Operator
from .check import Draw
from .kernels.cross_entropy_rows import ROWS

IGNORE = -100  # a target that is not asked for


def reference(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """logits (N, K), target (N,) int64 -> (N,) in fp32 or wider; 0 where the target is IGNORE.

    `smoothing` s asks for 1-s of the target and s/K of every class. Szegedy et al. 2016.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(wide, target, reduction="none", ignore_index=IGNORE, label_smoothing=smoothing)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    target = torch.tensor([3, IGNORE, 0, 10, 7], device=device)
    return Draw(device, dtype)(5, 11), target, 0.0


cross_entropy = Operator("cross_entropy", reference, ROWS, sample=sample, whole=True)
