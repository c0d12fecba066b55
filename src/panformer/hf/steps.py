"""What parts hold of their own weights, kept through training loops that know nothing of it."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from ..core.part import Part
from ..train.loop import parts


def follow(model: nn.Module) -> None:
    """From now on every step of any optimiser that holds a weight of `model` is followed by its parts' `after_step`.

    Nothing is done for a model whose parts have none. The hook goes with the model.
    """
    if all(type(part).after_step is Part.after_step for part in parts(model)):
        return
    there = weakref.ref(model)

    @torch.no_grad()
    def settle(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        model = there()
        if model is None:
            return
        moved = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if any(id(p) in moved for p in model.parameters()):
            for part in parts(model):
                part.after_step()

    weakref.finalize(model, register_optimizer_step_post_hook(settle).remove)
