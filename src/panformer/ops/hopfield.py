"""The continuous modern Hopfield network: an energy over a state, and the update that lowers it.

Ramsauer et al. 2020. Stored patterns are the rows of X (..., N, E), a state is xi (..., E), beta > 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Read = Callable[[Tensor, Tensor], Tensor]  # (states, what is stored under each pattern) -> weighted by softmax


def energy(xi: Tensor, stored: Tensor, beta: float) -> Tensor:
    """-logsumexp(beta X xi) / beta + xi'xi / 2 + log(N) / beta + M^2 / 2, M the longest pattern: (..., T, E) -> (..., T)."""
    longest = stored.square().sum(-1).amax(-1, keepdim=True)
    free = torch.logsumexp(beta * xi @ stored.mT, -1) / beta
    return xi.square().sum(-1) / 2 - free + math.log(stored.shape[-2]) / beta + longest / 2


def update(xi: Tensor, stored: Tensor, beta: float) -> Tensor:
    """softmax(beta xi X') X for every state: (..., T, E) -> (..., T, E)."""
    return (beta * xi @ stored.mT).softmax(-1) @ stored


def associate(read: Read, xi: Tensor, stored: Tensor, values: Tensor, steps: int) -> Tensor:
    """What is kept under the pattern that xi leads to: `steps` - 1 updates of xi, then one look at the values.

    `read(xi, what)` is softmax(beta xi X') what, so that one step is attention.
    """
    for _ in range(steps - 1):
        xi = read(xi, stored)
    return read(xi, values)
