"""delta_rule in blocks of tokens: what the tokens of a block correct in each other is one triangular system.

Yang et al. 2024, Parallelizing linear transformers with the delta rule over sequence length. With D the decay from
token to token, E_i the decay since the block began, and S the state there,

    (I + tril(diag(b) K K' * D, -1)) [U W] = diag(b) [V  E K],   N = U - W S,
    Y = E Q S + (Q K' * D) N,   S <- decay S + (leaving K)' N,

so that only N and S go from block to block, by two matrix products each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.layout import Layout
from ..backend import Kernel
from .linear_attention_blocks import cut, factors, fallen, times

SIZE = 64  # tokens per block


def refuses(
    q: Tensor, k: Tensor, v: Tensor, b: Tensor, fall: Tensor | None, at: Layout, s: Tensor | None
) -> str | None:
    return "one token: the formula itself is fastest" if q.shape[2] == 1 else None


def run(
    q: Tensor, k: Tensor, v: Tensor, b: Tensor, fall: Tensor | None, at: Layout, s: Tensor | None
) -> tuple[Tensor, Tensor]:
    return in_blocks(q, k, v, b, fall, at, s, SIZE)


def in_blocks(
    q: Tensor, k: Tensor, v: Tensor, b: Tensor, fall: Tensor | None, at: Layout, s: Tensor | None, size: int
) -> tuple[Tensor, Tensor]:
    """The operator's answer and last state, `size` tokens to a block."""
    kind, length, wide = v.dtype, q.shape[2], torch.promote_types(v.dtype, torch.float32)
    q, k, v, b = (x.to(wide) for x in (q, k, v, b))
    down = None if fall is None else fallen(fall, at, s is not None)
    f = factors(q, at, None if down is None else (down, down), None, s is not None, size)
    state = q.new_zeros(*q.shape[:2], q.shape[3], v.shape[3]) if s is None else s.to(wide)
    q, k, v, b = (cut(x, size) for x in (q, k, v, b[..., None]))
    told = torch.cat([b * v, times(b * k, f.enter)], -1)
    system = (b * k) @ k.mT * f.inside  # its diagonal is taken for ones
    u, w = torch.linalg.solve_triangular(system, told, upper=False, unitriangular=True).split(
        [v.shape[-1], k.shape[-1]], -1
    )
    # cut apart once: the gradient of an index into a tensor is a tensor of its whole size, which every block would add
    leaving = times(k, f.leave).mT.unbind(2)
    through = [None] * len(leaving) if f.through is None else f.through[..., None, None].to(wide).unbind(2)
    before, news = [], []
    for mine, seen, leave, fade in zip(u.unbind(2), w.unbind(2), leaving, through, strict=True):
        before.append(state)
        news.append(mine - seen @ state)
        state = (state if fade is None else fade * state) + leave @ news[-1]
    y = times(q, f.enter) @ torch.stack(before, 2) + (q @ k.mT * f.inside) @ torch.stack(news, 2)
    return y.flatten(2, 3)[:, :, :length].to(kind), state


BLOCKS = Kernel("blocks", refuses, run)
