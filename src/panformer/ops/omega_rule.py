"""A memory that each token moves towards the last c tokens at once, not towards itself alone.

    Z_t = p_t Z_{t-1} + sum_{i = t-c+1 .. t} g_i k_i (R' k_i - v_i)',   S_t = a_t S_{t-1} - r_t f(Z_t),   y_t = S_t' q_t

The sum is the gradient of sum_i g_i |R' k_i - v_i|^2 / 2 at R, the memory that the token before this chunk of `chunk`
tokens left; with chunk = 1 that is S_{t-1}. f is nothing, or brings singular values near 1
(Muon), but makes a step of less than that where |Z_t| is below 0.1. Behrouz et al. 2025,
Atlas: learning to optimally memorize the context at test time, equations 9 to 15, 32 and 33. c = chunk = 1 without p, r
and f is the delta rule.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.layout import Layout
from ..core.score import along
from .backend import Operator
from .check import Draw, mixed
from .kernels.omega_rule_chunks import CHUNKS
from .newton_schulz import orthogonal
from .omega_memory import FLOOR, Memory, nothing
from .scan import loop


def reference(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, fall: Tensor | None, push: Tensor | None, rate: Tensor | None, at: Layout,
    s: Memory | None, window: int, chunk: int, steps: int,
) -> tuple[Tensor, Memory]:  # fmt: skip
    """q, k (B, H, T, E), v (B, H, T, V) -> y (B, H, T, V), the memory after the last token of each row.

    g (B, H, T) >= 0; fall = log a and push = log p (B, H, T) <= 0 or None, which is a = 1 and p = 0; rate = r (B, H, T)
    or None, which is 1; steps of f, 0 for none. With s each row is the next tokens of one sequence; without it every
    sequence starts from nothing. Padding, anywhere, changes nothing. Chunks are counted by positions. Numbers narrower
    than float32 are summed in float32; y comes back in the type of v.
    """
    return _by_token(q, k, v, (g, fall, push, rate), at, s, window, chunk, steps, False)


def traced(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, fall: Tensor | None, push: Tensor | None, rate: Tensor | None, at: Layout,
    s: Memory | None, window: int, chunk: int, steps: int,
) -> tuple[Tensor, Memory]:  # fmt: skip
    """`reference` with its loop over time as one operation of the graph, for any number of tokens."""
    return _by_token(q, k, v, (g, fall, push, rate), at, s, window, chunk, steps, True)


def _by_token(
    q: Tensor, k: Tensor, v: Tensor, gates: tuple[Tensor | None, ...], at: Layout, s: Memory | None, window: int,
    chunk: int, steps: int, graph: bool,
) -> tuple[Tensor, Memory]:  # fmt: skip
    kind, live = v.dtype, at.valid[:, None, :, None]
    fresh = at.starts if s is None else torch.zeros_like(at.valid)
    s = Memory(*(nothing(q, v, window) if s is None else s))
    begin = _begins(at, chunk)
    q, k, v = (torch.where(live, x, 0).to(s.now.dtype) for x in (q, k, v))
    gates = tuple(x if x is None else torch.where(live[..., 0], x, 0).to(s.now.dtype) for x in gates)
    names = [i for i, x in enumerate(gates) if x is not None]

    def advance(s: Memory, now: tuple[Tensor, ...]) -> Memory:
        fresh, begin, live, k, v, *given = now
        own: dict[int, Tensor] = dict(zip(names, given, strict=True))
        if not at.full:
            s = Memory(*(x.masked_fill(_wide(fresh, x), 0) for x in s))
        new = _write(s, k, v, own[0], own.get(1), own.get(2), own.get(3), begin, chunk, steps)
        return new if at.full else Memory(*(torch.where(_wide(live, x), y, x) for x, y in zip(s, new, strict=True)))

    xs = (fresh, begin, at.valid, *(x.transpose(1, 2) for x in (k, v, *(x for x in gates if x is not None))))
    if graph:
        s, path = loop(lambda s, now: tuple(advance(Memory(*s), now)), tuple(s), xs)
        states, s = path[0], Memory(*s)
    else:
        every = []
        for now in zip(*(x.unbind(1) for x in xs), strict=True):
            s = advance(s, now)
            every.append(s.now)
        states = torch.stack(every, 1)
    return (q.transpose(1, 2)[..., None, :] @ states)[..., 0, :].transpose(1, 2).to(kind), s


def _write(
    s: Memory, k: Tensor, v: Tensor, g: Tensor, fall: Tensor | None, push: Tensor | None, rate: Tensor | None,
    begin: Tensor, chunk: int, steps: int,
) -> Memory:  # fmt: skip
    """The memory after k (B, H, E), v (B, H, V), gates (B, H); begin (B,): whether a chunk begins here."""
    k, v, g = (torch.cat([old, new[:, :, None]], 2) for old, new in ((s.k, k), (s.v, v), (s.g, g)))
    base = s.now if chunk == 1 else torch.where(_wide(begin, s.now), s.now, s.base)
    slope = k.mT @ (g[..., None] * (k @ base - v))
    speed = slope if push is None else push.exp()[..., None, None] * s.speed + slope
    step = orthogonal(speed, steps, FLOOR) if steps else speed
    step = step if rate is None else rate[..., None, None] * step
    now = (s.now if fall is None else fall.exp()[..., None, None] * s.now) - step
    return Memory(now, base, s.speed if push is None else speed, k[:, :, 1:], v[:, :, 1:], g[:, :, 1:])


def _begins(at: Layout, chunk: int) -> Tensor:
    """(B, T) bool: whether a chunk begins with this token."""
    if chunk == 1:
        return torch.ones_like(at.valid)
    along(at)
    return at.pos[..., 0] % chunk == 0


def _wide(rows: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, 1 ...)."""
    return rows.view(-1, *[1] * (like.dim() - 1))


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), mixed(device)
    q, k, v = (draw(2, 2, at.length, n) for n in (3, 3, 4))
    k = k / k.norm(dim=-1, keepdim=True)
    g, rate = (draw(2, 2, at.length).sigmoid() / 8 for _ in range(2))
    fall, push = (-draw(2, 2, at.length).exp() / 4 for _ in range(2))
    return q, k, v, g, fall, push, rate, at, None, 3, 8, 0


omega_rule = Operator("omega_rule", reference, CHUNKS, traced=traced, sample=sample)
