"""omega_rule chunk by chunk: all slopes of a chunk are taken at one memory, so its tokens need not wait for each other.

With R and S the memory where slopes are taken and the one that is written to, Z the speed before the chunk, k_i, v_i its
tokens and the c - 1 before them, and n_i = g_i (R' k_i - v_i),

    Z_t = P_t Z + sum_i F_ti k_i n_i',   F = L_p W,   S_t = A_t S - sum_s (L_a)_ts r_s f(Z_s),

where W_ti says whether token i is in the window of t, (L_x)_ts is the product of x from s + 1 to t, and A_t, P_t are the
products from the chunk's begin. Without f all of that is one matrix C = L_a diag(r) F over tokens, as in attention:
y = A Q S - (L_a diag(r) P) Q Z - (Q K' * C) N. With f the speeds of a chunk are made side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...core.layout import Layout
from ..backend import Kernel
from ..cells import Cells, cells
from ..newton_schulz import orthogonal
from ..omega_memory import FLOOR, Memory, nothing


class Chunk(NamedTuple):
    """The tokens of one chunk (b of them) and with those in their windows (m)."""

    q: Tensor  # (N, H, b, E)
    k: Tensor  # (N, H, m, E)
    v: Tensor  # (N, H, m, V)
    g: Tensor  # (N, H, m)
    sees: Tensor  # (N, 1, b, m) W
    fade: Tensor | None  # (N, H, b, b) L_a, None where nothing fades: ones
    fades: Tensor | None  # (N, H, b) A
    push: Tensor | None  # (N, H, b, b) L_p, None without momentum: the unit matrix
    pushes: Tensor | None  # (N, H, b) P
    rate: Tensor  # (N, H, b), 0 in empty cells


def refuses(*args: Any) -> str | None:
    if args[10] == 1:
        return "every token takes its slopes where the one before it left the memory"
    return "one token: the formula itself is fastest" if args[0].shape[2] == 1 else None


def run(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, fall: Tensor | None, push: Tensor | None, rate: Tensor | None, at: Layout,
    s: Any, window: int, chunk: int, steps: int,
) -> tuple[Tensor, Any]:  # fmt: skip
    kind, one = v.dtype, s is not None
    held = cells(at, chunk, one)
    wide = torch.promote_types(kind, torch.float32)
    q, k, v = (_laid(x, held).to(wide) for x in (q, k, v))
    g = _gate(g, held, wide)
    fall, push, rate = (None if x is None else _gate(x, held, wide) for x in (fall, push, rate))
    s = Memory(*(nothing(q, v, window) if s is None else s))
    k, v, g = (_behind(old, new, held.lead) for old, new in ((s.k, k), (s.v, v), (s.g[..., None], g[..., None])))
    now, base, speed, ys = s.now, s.base, s.speed, []
    for i, (live, *tokens) in enumerate(_cut(q, k, v, g[..., 0], fall, push, rate, held.live, chunk, window)):
        origin = now if i else torch.where((held.lead > 0)[:, None, None, None], base, now)
        part = _chunk(window, live, *tokens)
        y, now, speed = (_straight if not steps else _turned)(part, origin, now, speed, steps)
        base = torch.where(live.any(1)[:, None, None, None], origin, base)
        ys.append(y)
    last = (held.lead + held.length)[:, None] + torch.arange(window - 1, device=at.device)
    k, v, g = (_picked(x, last) for x in (k, v, g))
    y = torch.cat(ys, 2).transpose(1, 2)
    after = Memory(now, base, speed, k, v, g[..., 0])
    if not (one or at.full or at.single):
        after = Memory(*(_of(x, at.ordinal.amax(1)) for x in after))
    return held.back(y, at).transpose(1, 2).to(kind), after


def _straight(c: Chunk, base: Tensor, now: Tensor, speed: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """(answers, memory and speed after the chunk) where the speed itself is the step."""
    wrong = c.g[..., None] * (c.k @ base - c.v)
    reach = c.sees if c.push is None else c.push @ c.sees  # F
    pull = c.rate[:, :, None] if c.fade is None else c.fade * c.rate[:, :, None]
    pull = pull.expand(-1, -1, c.q.shape[2], -1).tril()
    weight = pull @ reach  # C
    y = c.q @ now if c.fades is None else c.fades[..., None] * (c.q @ now)
    y = y - (c.q @ c.k.mT * weight) @ wrong
    kept = now if c.fades is None else c.fades[..., -1, None, None] * now
    after = kept - (c.k * weight[:, :, -1, :, None]).mT @ wrong
    if c.pushes is None:
        return y, after, speed
    carried = (pull @ c.pushes[..., None])[..., 0]  # L_a diag(r) P
    y = y - carried[..., None] * (c.q @ speed)
    after = after - carried[..., -1, None, None] * speed
    return y, after, c.pushes[..., -1, None, None] * speed + (c.k * reach[:, :, -1, :, None]).mT @ wrong


def _turned(c: Chunk, base: Tensor, now: Tensor, speed: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """`_straight` where the step is the speed with its singular values brought near 1."""
    wrong = c.g[..., None] * (c.k @ base - c.v)
    reach = c.sees if c.push is None else c.push @ c.sees
    speeds = (reach[..., None] * c.k[:, :, None]).mT @ wrong[:, :, None]  # (N, H, b, E, V)
    if c.pushes is not None:
        speeds = speeds + c.pushes[..., None, None] * speed[:, :, None]
    pull = c.rate[:, :, None] if c.fade is None else c.fade * c.rate[:, :, None]
    pull = pull.expand(-1, -1, c.q.shape[2], -1).tril()
    states = now[:, :, None] if c.fades is None else c.fades[..., None, None] * now[:, :, None]
    states = states - (pull @ orthogonal(speeds, steps, FLOOR).flatten(-2)).view_as(speeds)
    y = (c.q[..., None, :] @ states)[..., 0, :]
    return y, states[:, :, -1], speed if c.pushes is None else speeds[:, :, -1]


def _cut(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, fall: Tensor | None, push: Tensor | None, rate: Tensor | None, live: Tensor,
    chunk: int, window: int,
) -> Iterator[tuple[Any, ...]]:  # fmt: skip
    """(live, q, fall, push, rate, k, v, g) of each chunk, the last three with those before it that its windows reach.

    All are cut apart at once: the gradient of a slice is a tensor of the whole size, which every chunk would add.
    """
    own = (live.split(chunk, 1), *(repeat(None) if x is None else x.split(chunk, 2) for x in (q, fall, push, rate)))
    near = (x.unfold(2, chunk + window - 1, chunk).movedim(-1, 3).unbind(2) for x in (k, v, g))
    return zip(*own, *near)


def _chunk(
    window: int, live: Tensor, q: Tensor, fall: Tensor | None, push: Tensor | None, rate: Tensor | None, k: Tensor,
    v: Tensor, g: Tensor,
) -> Chunk:  # fmt: skip
    b = live.shape[1]
    apart = torch.arange(b + window - 1, device=q.device) - torch.arange(b, device=q.device)[:, None]
    sees = ((apart >= 0) & (apart < window)) & live[:, None, :, None]
    r = live[:, None].to(q.dtype) if rate is None else rate
    fade, fades = (None, None) if fall is None else _products(fall)
    last, lasts = (None, None) if push is None else _products(push)
    return Chunk(q, k, v, g, sees.to(q.dtype), fade, fades, last, lasts, r)


def _products(log: Tensor) -> tuple[Tensor, Tensor]:
    """log x (N, H, b) -> (L_x (N, H, b, b), products from the begin (N, H, b)); sums in float64 lose nothing."""
    up = log.double().cumsum(-1)
    later = torch.ones(up.shape[-1], up.shape[-1], dtype=torch.bool, device=up.device).triu(1)
    apart = (up[..., :, None] - up[..., None, :]).masked_fill(later, -torch.inf)
    return apart.exp().to(log.dtype), up.exp().to(log.dtype)


def _laid(x: Tensor, where: Cells) -> Tensor:
    """(B, H, T, F) -> (N, H, R * chunk, F), zeros in empty cells."""
    return where.lay(x.transpose(1, 2)).transpose(1, 2)


def _gate(x: Tensor, where: Cells, kind: torch.dtype) -> Tensor:
    """(B, H, T) -> (N, H, R * chunk), zeros in empty cells."""
    return _laid(x[..., None], where)[..., 0].to(kind)


def _behind(old: Tensor, new: Tensor, lead: Tensor) -> Tensor:
    """(N, H, c - 1 + R * chunk, F): the window so far right before the first token of each row."""
    n = old.shape[2]
    line = torch.cat([torch.zeros_like(old), new], 2)
    place = (lead[:, None] + torch.arange(n, device=lead.device))[:, None, :, None]
    return line.scatter(2, place.expand_as(old), old)


def _of(x: Tensor, which: Tensor) -> Tensor:
    """x (N, ...), which (B,) -> (B, ...), zeros where that is -1."""
    none = (which < 0).view(-1, *[1] * (x.dim() - 1))
    return x[which.clamp(min=0)].masked_fill(none, 0)


def _picked(x: Tensor, where: Tensor) -> Tensor:
    """x (N, H, L, F), where (N, n) -> (N, H, n, F)."""
    return x.gather(2, where[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))


CHUNKS = Kernel("chunks", refuses, run)
