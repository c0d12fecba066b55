"""Pointwise non-linearities by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Activation = Literal["gelu", "gelu_tanh", "relu", "relu2", "silu", "tanh", "sigmoid", "identity"]


def gelu_tanh(x: Tensor) -> Tensor:
    """The tanh approximation of x Phi(x). Hendrycks & Gimpel 2016."""
    return F.gelu(x, approximate="tanh")


def relu2(x: Tensor) -> Tensor:
    """max(x, 0)^2. So et al. 2021, Primer."""
    return F.relu(x).square()


def identity(x: Tensor) -> Tensor:
    """x."""
    return x


ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "gelu": F.gelu,
        "gelu_tanh": gelu_tanh,
        "relu": F.relu,
        "relu2": relu2,
        "silu": F.silu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "identity": identity,
    }
)
