"""What all objectives end with: a mean that knows over how many terms it goes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.errors import InputError
from ..ops import cross_entropy as op
from ..ops.cross_entropy import IGNORE as IGNORE


def mean(terms: Tensor, keep: Tensor | None = None) -> dict[str, Tensor]:
    """{"loss": mean of the kept terms (0 where there are none), "count": how many}.

    The loss of a whole batch is the mean of its pieces' losses, weighted by their counts.
    """
    if keep is None:
        return {"loss": terms.mean(), "count": torch.tensor(terms.numel(), device=terms.device)}
    count = keep.sum()
    return {"loss": torch.where(keep, terms, 0).sum() / count.clamp(min=1), "count": count}


def cross_entropy(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> dict[str, Tensor]:
    """logits (..., K), target (...) int64 with IGNORE where nothing is asked. Half precision is widened."""
    if logits.shape[:-1] != target.shape:
        raise InputError(f"answers {tuple(logits.shape)} do not fit targets {tuple(target.shape)}")
    seen = target.device.type == "cpu" and target.numel() > 0 and not torch.compiler.is_compiling()
    if seen and int(target.max()) >= logits.shape[-1]:
        raise InputError(f"class {int(target.max())} is outside the {logits.shape[-1]} that the head answers")
    terms = op.cross_entropy(logits.flatten(0, -2), target.flatten(), smoothing)
    return mean(terms, target.flatten() != IGNORE)


def error(out: Tensor, target: Tensor) -> Tensor:
    """out - target, for equal shapes only: others would be broadcast. Half precision is widened."""
    if out.shape != target.shape:
        raise InputError(f"answers {tuple(out.shape)} do not fit targets {tuple(target.shape)}")
    return out.to(torch.promote_types(out.dtype, torch.float32)) - target
