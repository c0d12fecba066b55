"""cema in blocks of tokens: a Toeplitz matrix per channel inside a block, and one state carried from block to block.

With q^k the gain of k tokens, a block of c tokens x that finds the state h gives

    y_i = sum_(j <= i) Re(c . q^(i-j)) x_j + Re(c . q^(i+1) h),   h <- q^c h + sum_j q^(c-1-j) x_j.

Work and memory are linear in the tokens. Every sequence begins a block, so that nothing passes from one to the next.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.layout import Layout
from ..backend import Kernel

SIZE = 64  # tokens per block: a token and channel cost SIZE inside their block and 4 N through the states


def refuses(x: Tensor, fall: Tensor, turn: Tensor, weight: Tensor, at: Layout, h: Tensor | None) -> str | None:
    return "one token: the formula itself is fastest" if x.shape[1] == 1 else None


class Places(NamedTuple):
    """Which token stands at each of L places, L a multiple of the block."""

    token: Tensor  # (R, L) into the B * T tokens
    real: Tensor  # (R, L) False where there is none
    first: Tensor | None  # (R, n) blocks that begin a sequence; None: only the first of a row may


def run(
    x: Tensor, fall: Tensor, turn: Tensor, weight: Tensor, at: Layout, h: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    kind, wide, size = x.dtype, torch.promote_types(x.dtype, torch.float32), min(SIZE, x.shape[1])
    x, fall, turn, weight = (z.to(wide) for z in (at.clean(x), fall, turn, weight))
    c = torch.view_as_complex(weight.contiguous())
    power = torch.arange(size + 1, device=x.device)[:, None, None]
    gain = torch.complex((power * fall).exp() * (power * turn).cos(), (power * fall).exp() * (power * turn).sin())
    where = None
    if at.full:
        line = F.pad(x, (0, 0, 0, -x.shape[1] % size))
    else:
        where = at.derive(("cema", size, h is None), lambda: _places(at, size, h is not None))
        line = x.flatten(0, 1)[where.token].masked_fill(~where.real[..., None], 0)
    blocks = line.unflatten(1, (-1, size))  # (R, n, c, D)
    many, seen = blocks.shape[:2], blocks.permute(3, 2, 0, 1).flatten(2)  # (D, c, R n)
    apart = torch.arange(size, device=x.device)
    apart = (apart[:, None] - apart).clamp_min(0)
    y = (c * gain).real.sum(-1).mT[:, apart].tril() @ seen
    last = None
    if h is not None or many[1] > 1:
        leave = torch.view_as_real(gain[:size].flip(0)).permute(1, 2, 3, 0).flatten(1, 2)  # (D, 2 N, c)
        states = _carry(_states(leave @ seen, many), gain[size], None if where is None else where.first, h)
        out = c * gain[1:]
        enter = torch.stack((out.real, -out.imag), -1).transpose(0, 1).flatten(2)  # (D, c, 2 N)
        y = y + enter @ torch.view_as_real(states[:, :-1]).permute(2, 3, 4, 0, 1).flatten(1, 2).flatten(2)
        if h is not None:
            count = torch.full((len(x),), x.shape[1], device=x.device) if where is None else where.real.sum(1)
            last = torch.view_as_real(_last(line, count, gain, leave, states))
    y = y.unflatten(2, many).permute(2, 3, 1, 0).flatten(1, 2)  # (R, L, D)
    if where is None:
        return y[:, : x.shape[1]].to(kind), last
    back = y.new_zeros(x.shape[0] * x.shape[1], x.shape[2])
    return back.index_copy(0, where.token[where.real], y[where.real]).view_as(x).to(kind), last


def _states(sums: Tensor, many: tuple[int, int]) -> Tensor:
    """(D, 2 N, R n) pairs -> (R, n, D, N) complex."""
    return torch.view_as_complex(sums.unflatten(2, many).unflatten(1, (-1, 2)).permute(3, 4, 0, 1, 2).contiguous())


def _carry(sums: Tensor, gain: Tensor, first: Tensor | None, h: Tensor | None) -> Tensor:
    """(R, n + 1, D, N): the state that each block finds, and the one after the last block."""
    s = torch.zeros_like(sums[:, 0]) if h is None else torch.view_as_complex(h.to(gain.real.dtype).contiguous())
    path = []
    for i, own in enumerate(sums.unbind(1)):  # cut apart once: the gradient of an index is a tensor of the whole size
        if first is not None:
            s = s.masked_fill(first[:, i, None, None], 0)
        path.append(s)
        s = gain * s + own
    return torch.stack([*path, s], 1)


def _last(line: Tensor, count: Tensor, gain: Tensor, leave: Tensor, states: Tensor) -> Tensor:
    """(B, D, N): the state after `count` (B,) tokens of each row, from the one that the block begun last found."""
    size = leave.shape[2]
    whole = count // size
    place = count[:, None] - size + torch.arange(size, device=line.device)
    rest = line.gather(1, place.clamp_min(0)[..., None].expand(-1, -1, line.shape[2]))
    rest = rest.masked_fill((place < whole[:, None] * size)[..., None], 0)
    found = states[torch.arange(len(line), device=line.device), whole]
    return gain[count - whole * size] * found + _states(leave @ rest.permute(2, 1, 0), (len(line), 1))[:, 0]


def _places(at: Layout, size: int, one: bool) -> Places:
    """`one`: each row holds one sequence, which is its row here too; else all sequences stand in one row."""
    step = torch.arange(size, device=at.device)
    if one:
        rows = torch.arange(at.batch * at.length, device=at.device).view(at.batch, -1)
        length = at.length + -at.length % size
        place = torch.where(at.valid, at.valid.cumsum(1) - 1, length)  # the last place takes all padding
        index = rows.new_zeros(at.batch, length + 1).scatter(1, place, rows)[:, :length]
        return Places(index, torch.arange(length, device=at.device) < at.valid.sum(1, keepdim=True), None)
    blocks = -(-at.lengths // size)  # (N,)
    owner = torch.repeat_interleave(blocks)
    number = torch.arange(len(owner), device=at.device) - (blocks.cumsum(0) - blocks)[owner]  # of a block in its own
    inner = number[:, None] * size + step
    real = inner < at.lengths[owner, None]
    tokens = at.valid.flatten().nonzero()[:, 0]
    index = tokens[torch.where(real, inner + at.cu_seqlens[:-1].long()[owner, None], 0)]
    return Places(index.flatten()[None], real.flatten()[None], (number == 0)[None])


BLOCKS = Kernel("blocks", refuses, run)
