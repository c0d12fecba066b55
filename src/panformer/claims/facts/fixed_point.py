"""Facts about attention iterated to a fixed point, in float64: it is one, and what its gradient is."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.layout import Layout
from .mixers import _mixer

Pair = tuple[Tensor, Tensor]


def settled(seed: int, steps: int = 400, width: int = 16, length: int = 11) -> Pair:
    """The answer, and one more look that starts from it. After a few `steps` alone they must not be equal."""
    part, x = _mixer(seed, {"use": "fixed_point", "heads": 2, "steps": steps, "tolerance": 1e-15}, width, length)
    at = Layout.dense(2, length)
    z = part(x, at)
    return z, part.look(z, x, at)


def gradient(seed: int, steps: int = 400, width: int = 8, length: int = 5) -> Pair:
    """The gradient into x through all looks, and that of the implicit function, g (1 - dz/dz)^-1 dz/dx, at the answer.

    After a few `steps` alone they must not be equal.
    """
    part, x = _mixer(seed, {"use": "fixed_point", "heads": 2, "steps": steps, "tolerance": 1e-15}, width, length)
    x, at = x[:1].requires_grad_(), Layout.dense(1, length)
    z = part(x, at)
    g = torch.arange(z.numel(), dtype=z.dtype).cos().view_as(z)
    (unrolled,) = torch.autograd.grad((g * z).sum(), x)
    z = z.detach()
    slope = torch.autograd.functional.jacobian(lambda y: part.look(y, x.detach(), at).flatten(), z).flatten(1)
    pull = torch.linalg.solve((torch.eye(z.numel(), dtype=z.dtype) - slope).mT, g.flatten()).view_as(z)
    (implicit,) = torch.autograd.grad((pull * part.look(z, x, at)).sum(), x)
    return unrolled, implicit
