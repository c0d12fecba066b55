"""y_t = average of v_1 .. v_t with weights e^k: a past value's falls by e^w a token, the present one's is e^(u + k_t).

    y_t = (sum_{i<t} e^((t-1-i) w + k_i) v_i + e^(u + k_t) v_t) / (the same sums without v)

Peng et al. 2023, RWKV. The sums are held as e^m (num, den) with m their largest exponent, so that no k is too large.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .backend import Operator
from .check import Draw
from .kernels.wkv_tree import EMPTY, TREE


class Sums(NamedTuple):
    """e^top num and e^top den: the weighted sum of the past values and the sum of their weights, each (B, E)."""

    num: Tensor
    den: Tensor
    top: Tensor


def nothing(batch: int, like: Tensor) -> Sums:
    """The state before the first token, for channels as the vector `like` has."""
    zero = like.new_zeros(batch, len(like), dtype=torch.promote_types(like.dtype, torch.float32))
    return Sums(zero, zero.clone(), torch.full_like(zero, EMPTY))


def reference(
    k: Tensor, v: Tensor, w: Tensor, u: Tensor, live: Tensor | None, reset: Tensor | None, state: Sums
) -> tuple[Tensor, Sums]:
    """k, v (B, T, E), w (E,) < 0, u (E,), state of (B, E) -> y (B, T, E), the state after.

    reset (B, T) bool: True forgets all before that token. live (B, T) bool: False leaves the state as it is.
    Numbers narrower than float32 are summed in float32; y comes back in the type of v.
    """
    kind, wide = v.dtype, torch.promote_types(v.dtype, torch.float32)
    k, v, w, u = (z.to(wide) for z in (k, v, w, u))
    empty = Sums(*(z.to(wide) for z in nothing(len(k), w)))
    past = Sums(*(z.to(wide) for z in state))
    ys = []
    for t in range(k.shape[1]):
        if reset is not None:
            past = _where(reset[:, t], empty, past)
        num, den, _ = _added(past, u + k[:, t], v[:, t])
        ys.append(num / den)
        after = _added(past._replace(top=past.top + w), k[:, t], v[:, t])
        past = after if live is None else _where(live[:, t], after, past)
    return torch.stack(ys, 1).to(kind), past


def _added(past: Sums, k: Tensor, v: Tensor) -> Sums:
    """The sums with one more value, of weight e^k."""
    top = torch.maximum(past.top, k)
    old, new = torch.exp(past.top - top), torch.exp(k - top)
    return Sums(old * past.num + new * v, old * past.den + new, top)


def _where(rows: Tensor, a: Sums, b: Sums) -> Sums:
    return Sums(*(torch.where(rows[:, None], x, y) for x, y in zip(a, b, strict=True)))


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw = Draw(device, dtype)
    state = Sums(draw(2, 6), draw(2, 6).exp(), draw(2, 6))
    live, reset = ~draw.flags(0.1, 2, 37), draw.flags(0.1, 2, 37)
    return draw(2, 37, 6), draw(2, 37, 6), -draw(6).exp(), draw(6), live, reset, state


wkv = Operator("wkv", reference, TREE, sample=sample)
