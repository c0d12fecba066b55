"""M (B, H, T, T) of a mixer that is y = M v for its values v, once all that its input says about M is held."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..core.errors import InputError


def matrix(mix: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """M of `mix`, a linear map of values (B, H, T, V) along T: column j is its answer to 1 at token j.

    `like` (B, H, T, V): any values; on them M must say what `mix` says. Errors: InputError where it does not.
    """
    batch, heads, length, _ = like.shape
    units = torch.eye(length, dtype=like.dtype, device=like.device).expand(batch, heads, -1, -1)
    m = mix(units.contiguous())
    want = mix(like)
    off = (m @ like - want).detach().abs().max() / want.detach().abs().max().clamp(min=1e-30)
    if not float(off) < 1e3 * torch.finfo(like.dtype).eps:
        raise InputError("matrix: this mixer is not linear in its values along the tokens")
    return m
