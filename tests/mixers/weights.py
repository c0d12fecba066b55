"""Weights away from where they start, where zeros and ones would hide a fault."""

from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


@torch.no_grad()
def shaken(module: M, by: float = 0.3) -> M:
    """The same module, Gaussian noise of deviation `by` added to every parameter."""
    for p in module.parameters():
        p.add_(by * torch.randn_like(p))
    return module
