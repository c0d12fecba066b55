"""linear_attention in blocks of tokens: matrix products inside a block, one sum carried from block to block.

O(T) work and memory. A block may hold the end of one sequence and the start of another: weights inside it
are masked by sequence, and the carried sum reaches only the sequence that it belongs to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.layout import Layout
from ..backend import Kernel
from ..scan import affine, scan

SIZE = 64  # tokens per block: a token costs SIZE (E + V) inside its block and E V through the sums

Decay = tuple[Tensor, Tensor]
State = tuple[Tensor, Tensor]


class Factors(NamedTuple):
    """What weights are multiplied by, for n blocks of c tokens; None stands for 1."""

    inside: Tensor  # (B|1, H|1, n|1, c, c)  query, key of one block
    enter: Tensor | None  # (B|1, H|1, n, c)  query, sum carried into its block
    leave: Tensor | None  # (B|1, H|1, n, c)  key, sum carried out of its block
    through: Tensor | None  # (B|1, H|1, n)  sum carried in, sum carried out
    end: Tensor | None  # (B|1, H|1)  the decay's reference after the last token


def refuses(q: Tensor, k: Tensor, v: Tensor, at: Layout, causal: bool, decay: Decay | None) -> str | None:
    if not causal and decay is not None:
        return "a decay needs an order: causal only"
    return None


def run(q: Tensor, k: Tensor, v: Tensor, at: Layout, causal: bool, decay: Decay | None) -> Tensor:
    if causal:
        return _mix(q, k, v, factors(q, at, decay, None, at.full, SIZE), None)[0]
    if at.full:
        return q @ (k.mT @ v)
    q, k, v = (at.to_rows(z.transpose(1, 2)).transpose(1, 2) for z in (q, k, v))
    return at.from_rows((q @ (k.mT @ v)).transpose(1, 2)).transpose(1, 2)


def refuses_chunk(q: Tensor, k: Tensor, v: Tensor, at: Layout, decay: Decay | None, state: State) -> str | None:
    return "one token: the formula itself is fastest" if q.shape[2] == 1 else None


def run_chunk(q: Tensor, k: Tensor, v: Tensor, at: Layout, decay: Decay | None, state: State) -> tuple[Tensor, State]:
    s, r = state
    f = factors(q, at, decay, r, True, SIZE)
    y, s = _mix(q, k, v, f, s)
    return y, (s.to(state[0].dtype), r if f.end is None else f.end.expand_as(r))


def _mix(q: Tensor, k: Tensor, v: Tensor, f: Factors, s: Tensor | None) -> tuple[Tensor, Tensor]:
    """(y (B, H, T, V), the sum (B, H, E, V) after the last token), from the sum s before the first."""
    length, wide = q.shape[2], torch.promote_types(q.dtype, torch.float32)  # sums of many tokens are kept wide
    q, k, v = (cut(z, SIZE) for z in (q, k, v))
    y = (q @ k.mT * f.inside) @ v
    sums = (times(k, f.leave).mT @ v).to(wide)  # (B, H, n, E, V)
    gain = None if f.through is None else f.through.to(wide)[..., None, None]
    before, last = carry(sums, gain, s if s is None else s.to(wide))
    if before is not None:
        y += times(q, f.enter) @ before.to(q.dtype)
    return y.flatten(2, 3)[:, :, :length], last


def carry(sums: Tensor, gain: Tensor | None, s: Tensor | None) -> tuple[Tensor | None, Tensor]:
    """(what each block finds, None where nothing is carried; what is left after the last block).

    sums (B, H, n, E, V): what each block adds; gain: what of the sum carried in is carried out, of a shape that
    broadcasts to theirs; s: the sum before the first block.
    """
    if s is None and sums.shape[2] == 1:
        return None, sums[:, :, 0]
    if gain is None:
        gain = sums.new_ones(1, 1, 1, 1, 1)
    gain = gain.expand(*sums.shape[:3], -1, -1)
    s = torch.zeros_like(sums[:, :, 0]) if s is None else s.expand_as(sums[:, :, 0])
    if sums.is_cuda or torch.compiler.is_compiling():  # there many short steps cost more than a few long ones
        sums = torch.cat([sums[:, :, :1] + gain[:, :, :1] * s[:, :, None], sums[:, :, 1:]], 2)
        after = scan(affine, (gain.transpose(1, 2), sums.transpose(1, 2)))[1].transpose(1, 2)
        return torch.cat([s[:, :, None], after[:, :, :-1]], 2), after[:, :, -1]
    found: tuple[Tensor, Tensor] = _Carry.apply(sums, gain, s, False)
    return found


class _Carry(torch.autograd.Function):
    """`carry` block after block, so that each sum is read and written once. Gradients are carried the other way."""

    @staticmethod
    def forward(ctx: Any, sums, gain, s, back):
        found = torch.empty_like(sums, memory_format=torch.contiguous_format)
        for i in reversed(range(sums.shape[2])) if back else range(sums.shape[2]):
            found[:, :, i] = s
            s = torch.addcmul(sums[:, :, i], gain[:, :, i], s)
        ctx.save_for_backward(gain, found)
        ctx.back = back
        return found, s

    @staticmethod
    def backward(ctx: Any, push, late):
        gain, found = ctx.saved_tensors
        to_sums, to_s = _Carry.apply(push, gain, late, not ctx.back)
        to_gain = (to_sums * found).sum_to_size(gain.shape) if ctx.needs_input_grad[1] else None
        return to_sums, to_gain, to_s, None


def factors(like: Tensor, at: Layout, decay: Decay | None, r: Tensor | None, one: bool, size: int) -> Factors:
    """`one`: every row is one sequence (a stream, or a full layout). r (B, H): the reference before the first token.

    `size`: tokens per block.
    """
    if decay is None:  # a fact of the layout alone
        return at.derive(("linear", like.dtype, one, size), lambda: _masks(at, one, like.dtype, size))
    keep = at.derive(("linear", torch.bool, one, size), lambda: _masks(at, one, torch.bool, size))
    up, down = (_cut_row(d, size) for d in decay)  # (B|1, H|1, n, c)
    old, new = _ends(up, at, r, size)  # (B|1, H|1, n)
    wide = torch.promote_types(like.dtype, torch.float32)  # a distance of 10 in bfloat16 would be off by 4 hundredths
    base = up[..., :1].detach()  # distances within a block, taken before they are rounded; base cancels
    near_up, near_down = (up - base).to(wide), (down - base).to(wide)
    return Factors(
        _fall(near_up[..., :, None] - near_down[..., None, :], keep.inside).to(like.dtype),
        _fall((up - old[..., None]).to(wide), keep.enter).to(like.dtype),
        _fall((new[..., None] - down).to(wide), keep.leave).to(like.dtype),
        _fall(new - old, keep.through),
        new[..., -1],
    )


def _fall(apart: Tensor, keep: Tensor | None) -> Tensor:
    """exp(apart), 0 where not kept: masked first, as the distance to another sequence may overflow."""
    return (apart if keep is None else apart.masked_fill(~keep, -torch.inf)).exp()


def _masks(at: Layout, one: bool, dtype: torch.dtype, size: int) -> Factors:
    block = min(size, at.length)
    inside = torch.ones(block, block, dtype=torch.bool, device=at.device).tril()
    if at.full:
        return Factors(inside.to(dtype), None, None, None, None)
    live = _cut_row(at.valid[:, None], size, False)  # (B, 1, n, c)
    inside = inside & live[..., :, None] & live[..., None, :]
    if one:
        return Factors(inside.to(dtype), live.to(dtype), live.to(dtype), None, None)
    seq = _cut_row(at.starts.cumsum(1)[:, None], size)  # padding counts with the sequence before it
    new = seq[..., -1]
    old = F.pad(new, (1, 0))[..., :-1]
    inside = inside & (seq[..., :, None] == seq[..., None, :])
    enter, leave = live & (seq == old[..., None]), live & (seq == new[..., None])
    return Factors(inside.to(dtype), enter.to(dtype), leave.to(dtype), (new == old).to(dtype), None)


def _ends(up: Tensor, at: Layout, r: Tensor | None, size: int) -> tuple[Tensor, Tensor]:
    """`up` (B|1, H|1, n, c) at the last real token before each block and at the last one in it: (B|1, H|1, n) each."""
    first = up.new_zeros(1, 1, 1) if r is None else r[..., None]
    new = up[..., -1]
    if not at.full:
        count = torch.arange(at.length, device=at.device)
        place = _cut_row(torch.where(at.valid, count, -1).cummax(1).values[:, None], size)[..., -1]  # (B, 1, n)
        place = place.expand(-1, up.shape[1], -1)
        found = up.flatten(2).expand(at.batch, -1, -1).gather(2, place.clamp_min(0))
        new = torch.where(place >= 0, found, first)
    shape = torch.broadcast_shapes(new.shape[:2], first.shape[:2])
    return torch.cat([first.expand(*shape, 1), new[..., :-1].expand(*shape, -1)], -1), new.expand(*shape, -1)


def times(x: Tensor, factor: Tensor | None) -> Tensor:
    return x if factor is None else x * factor[..., None]


def cut(x: Tensor, size: int) -> Tensor:
    """(B, H, T, E) -> (B, H, n, c, E), zeros after the end; c is `size`, or T where that is less."""
    size = min(size, x.shape[2])
    rest = -x.shape[2] % size
    return (F.pad(x, (0, 0, 0, rest)) if rest else x).unflatten(2, (-1, size))  # padding by nothing copies


def _cut_row(x: Tensor, size: int, after: bool | None = None) -> Tensor:
    """(B, H, T) -> (B, H, n, c), with `after`, or the last value again, after the end."""
    size = min(size, x.shape[-1])
    tail = x[..., -1:].expand(*x.shape[:-1], -x.shape[-1] % size)
    if after is not None:
        tail = torch.full_like(tail, after)
    return torch.cat([x, tail], -1).unflatten(-1, (-1, size))


BLOCKS = Kernel("blocks", refuses, run)
BLOCKS_CHUNK = Kernel("blocks", refuses_chunk, run_chunk)
