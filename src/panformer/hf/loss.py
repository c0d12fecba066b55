"""The loss of a pass when `labels` are given."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Norm
from ..core.layout import Layout
from ..core.part import config
from ..model.model import Model, Output
from ..objectives._mean import IGNORE

OBJECTIVES = {
    "lm": "causal_lm",
    "classify": "classify",
    "tag": "classify",
    "regress": "regress",
    "forecast": "forecast",
}


def loss(model: Model, run: Output, labels: Tensor) -> Tensor:
    """The spec's objective, or the usual one of its head, and the auxiliary losses of the pass.

    `labels` are what the head must answer, -100 where nothing is asked; for a causal language model they are the
    tokens themselves, each of which is asked of the token before it.
    """
    head = model.head.use() if model.head is not None else "none"
    if head not in OBJECTIVES:
        raise InputError(f"labels: there is no loss for the head {head}")
    objective = (model.spec.objective or config("objectives", OBJECTIVES[head])).build()
    target = _next(labels, run.at) if head == "lm" and model.encoder is None and causal(model) else labels
    value: Tensor = objective.loss(run.out, target)["loss"]
    return sum(run.losses.values(), value)


def causal(model: Model) -> bool:
    """Whether there is an answer for every token that no later one changes."""
    mixers = all(layer.mixer is None or layer.mixer.causal for layer in model.trunk.each())
    norms = all(norm.pointwise or norm.streams for norm in model.trunk.modules() if isinstance(norm, Norm))
    return mixers and norms and not len(model.trunk.reducers)


def _next(labels: Tensor, at: Layout) -> Tensor:
    """(B, T): the label of the token after each real one."""
    target = torch.full_like(labels, IGNORE)
    target[:, :-1] = torch.where(at.valid[:, :-1], labels[:, 1:], IGNORE)
    return target
