"""Kernels as means over frequencies w: phi(x) . phi(y) = mean_w f(w, x) f(w, y), for M frequencies that are drawn.

With w ~ N(0, I) `waves` gives exp(-|x - y|^2 / 2) (Rahimi and Recht 2007) and `positive` exp(x . y) (Choromanski et
al. 2021), both without bias and with an error that falls as 1 / sqrt(M).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Form = Literal["positive", "waves"]


def positive(x: Tensor, w: Tensor) -> Tensor:
    """exp(w . x - |x|^2 / 2) / sqrt(M). x (B, H, T, E), w (H|1, M, E) -> (B, H, T, M)."""
    return torch.exp(x @ w.mT - x.square().sum(-1, keepdim=True) / 2) * w.shape[-2] ** -0.5


def waves(x: Tensor, w: Tensor) -> Tensor:
    """[cos(w . x), sin(w . x)] / sqrt(M). x (B, H, T, E), w (H|1, M, E) -> (B, H, T, 2 M)."""
    turn = x @ w.mT
    return torch.cat([turn.cos(), turn.sin()], -1) * w.shape[-2] ** -0.5


FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"positive": positive, "waves": waves}


def orthogonal(count: int, size: int) -> Tensor:
    """(count, size): blocks of `size` rows at right angles, each as long as a Gaussian vector, from torch's generator.

    Every row alone is N(0, I), and the mean over rows varies less than that over independent ones. Yu et al. 2016.
    """
    turn, upper = torch.linalg.qr(torch.randn(-(-count // size), size, size))
    turn = turn * upper.diagonal(dim1=-2, dim2=-1).sign()[:, None]  # else some directions are drawn more often
    return turn.mT.flatten(0, 1)[:count] * torch.randn(count, size).norm(dim=1, keepdim=True)


def hadamard(x: Tensor) -> Tensor:
    """H x along the last axis, of a power of 2 n, where H is the matrix of +1 and -1 with H H' = n I: n log n steps."""
    for level in range(int(math.log2(x.shape[-1]))):
        a, b = x.unflatten(-1, (-1, 2, 2**level)).unbind(-2)
        x = torch.stack([a + b, a - b], -2).flatten(-3)
    return x
