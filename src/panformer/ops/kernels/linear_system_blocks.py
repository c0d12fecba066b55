"""linear_system in blocks of tokens: what a block does to a memory of nothing, and what is left of the one before it.

The i-th memory of a block is A^i of the one before the block and a sum of A^(i-j) B u_j over the tokens j <= i of the
block. Both are one product of matrices for all blocks at once; only the memories at the ends of blocks are made one
after the other.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.layout import Layout
from ..backend import Kernel
from ..conv import pick

SIZE = 32  # tokens of a block


def refuses(u: Tensor, a: Tensor, b: Tensor, at: Layout, m: Tensor | None) -> str | None:
    return "one token is one step" if u.shape[1] == 1 else None


def run(u: Tensor, a: Tensor, b: Tensor, at: Layout, m: Tensor | None) -> tuple[Tensor, Tensor]:
    wide = torch.promote_types(u.dtype, torch.float32)
    a, b = a.to(wide), b.to(wide)
    if m is None:
        line = at.to_rows(u).to(wide)
        states = at.from_rows(in_blocks(line, a, b, line.new_zeros(len(line), line.shape[2], len(a))))
    elif at.full:
        states = in_blocks(u.to(wide), a, b, m.to(wide))
    else:
        line, place = _gathered(at.clean(u).to(wide), at)
        states = in_blocks(line, a, b, m.to(wide)).flatten(2)
        states = at.clean(pick(states, place)).view(*u.shape, len(a))
    return states.to(u.dtype), newest(states, at, m)


def in_blocks(u: Tensor, a: Tensor, b: Tensor, m: Tensor) -> Tensor:
    """u (B, T, E) of full rows, m (B, E, N) before them -> (B, T, E, N)."""
    length, order = u.shape[1], len(a)
    size = min(SIZE, length)
    power, answer = powers(a, size), responses(a, b, size)
    ago = torch.arange(size, device=u.device)
    ago = ago - ago[:, None]  # (token, memory)
    within = torch.where((ago >= 0)[..., None], answer[ago.clamp(min=0)], 0).flatten(1)  # (size, size N)
    carried = power.permute(2, 0, 1).flatten(1)  # (N, size N)
    blocks = F.pad(u, (0, 0, 0, -length % size)).mT.unflatten(2, (-1, size))  # (B, E, blocks, size)
    own = (blocks @ within).unflatten(3, (size, order))
    before = [m]
    for end in own[:, :, :-1, -1].unbind(2):
        before.append(before[-1] @ power[-1].mT + end)
    states = own + (torch.stack(before, 2) @ carried).unflatten(3, (size, order))
    return states.flatten(2, 3)[:, :, :length].transpose(1, 2)


def powers(a: Tensor, count: int) -> Tensor:
    """A, A^2, ... A^count: (count, N, N), twice as many at a time."""
    found = a[None]
    while len(found) < count:
        found = torch.cat([found, found @ found[-1]])
    return found[:count]


def responses(a: Tensor, b: Tensor, count: int) -> Tensor:
    """B, A B, A^2 B, ...: (count, N), the answer of a memory of nothing to one impulse, twice as much at a time."""
    found, power = b[None], a
    while len(found) < count:
        found = torch.cat([found, found @ power.mT])
        power = power @ power
    return found[:count]


def newest(states: Tensor, at: Layout, m: Tensor | None) -> Tensor:
    """(B, E, N): every row's last memory, or what it was where the row has no token."""
    if at.full:
        return states[:, -1]
    place = torch.where(at.valid, torch.arange(1, at.length + 1, device=at.device), 0).amax(1)
    before = torch.zeros_like(states[:, 0]) if m is None else m.to(states.dtype)
    line = torch.cat([before[:, None], states], 1)
    return line[torch.arange(len(line), device=at.device), place]


def _gathered(u: Tensor, at: Layout) -> tuple[Tensor, Tensor]:
    """The tokens of each row side by side at its beginning, and where each of them went."""
    place = torch.where(at.valid, at.valid.cumsum(1) - 1, at.length)  # the last place takes all padding
    line = u.new_zeros(len(u), at.length + 1, u.shape[2])
    return line.scatter(1, place[..., None].expand_as(u), u), place


BLOCKS = Kernel("blocks", refuses, run)
