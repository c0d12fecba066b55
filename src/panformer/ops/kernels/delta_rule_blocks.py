"""delta_rule in blocks of tokens: what the tokens of a block correct in each other is one triangular system.

Yang et al. 2024, Parallelizing linear transformers with the delta rule over sequence length. With D the decay from
token to token, E_i the decay since the block began, and S the state there,

    (I + tril(diag(b) K K' * D, -1)) [U W] = diag(b) [V  E K],   N = U - W S,
    Y = E Q S + (Q K' * D) N,   S <- decay S + (leaving K)' N,

so that only N and S go from block to block, by two matrix products each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ..backend import Kernel
from ..falls import fallen
from .linear_attention_blocks import Factors, cut, factors, times

SIZE = 32  # tokens per block on a CPU
WIDER = 2  # as many times on other devices, where each of the steps from block to block costs launches
ROOM = 2**17  # numbers of a tensor that a CPU works on at a time, so that what is made of them stays in the cache
BASE = 8  # rows of a triangular system that are solved one by one


def refuses(
    q: Tensor, k: Tensor, v: Tensor, b: Tensor, fall: Tensor | None, at: Layout, s: Tensor | None
) -> str | None:
    return "one token: the formula itself is fastest" if q.shape[2] == 1 else None


def run(
    q: Tensor, k: Tensor, v: Tensor, b: Tensor, fall: Tensor | None, at: Layout, s: Tensor | None
) -> tuple[Tensor, Tensor]:
    with torch.autocast(q.device.type, enabled=False):  # which would round the state after every block
        return in_blocks(q, k, v, b, fall, at, s, SIZE if q.device.type == "cpu" else WIDER * SIZE)


def in_blocks(
    q: Tensor, k: Tensor, v: Tensor, b: Tensor, fall: Tensor | None, at: Layout, s: Tensor | None, size: int
) -> tuple[Tensor, Tensor]:
    """The operator's answer and last state, `size` tokens to a block."""
    kind, length, wide = v.dtype, q.shape[2], torch.promote_types(v.dtype, torch.float32)
    down = None if fall is None else fallen(fall, at, s is not None)
    f = factors(q.new_empty(0, dtype=wide), at, None if down is None else (down, down), None, s is not None, size)
    heads, sides = q.shape[:2], (q.shape[3], v.shape[3])
    state = q.new_zeros(*heads, *sides, dtype=wide) if s is None else s.to(wide)
    state, out = state.flatten(0, 1), []
    for q_, k_, v_, b_, f_ in _several((cut(q, size), cut(k, size), cut(v, size), cut(b[..., None], size)), f):
        q_, k_, v_, b_ = (x.to(wide) for x in (q_, k_, v_, b_))
        bk = b_ * k_
        back = _Inverse.apply(bk @ k_.mT * f_.inside)
        u, w = back @ (b_ * v_), back @ times(bk, f_.enter)
        steps = (u, w, times(q_, f_.enter), q_ @ k_.mT * f_.inside, times(k_, f_.leave).mT)
        through = None if f_.through is None else f_.through[..., None, None].to(wide)
        # cut apart once: the gradient of an index into a tensor is a tensor of its whole size
        fades = [None] * len(u) if through is None else _lined(through.expand(len(u), *heads, 1, 1))
        for mine, seen, asks, near, leave, fade in zip(*map(_lined, steps), fades, strict=True):
            news = torch.baddbmm(mine, seen, state, alpha=-1)
            y = torch.baddbmm(asks @ state, near, news)
            out.append(y.to(kind).unflatten(0, heads).transpose(1, 2))  # (B, c, H, V): heads are merged so
            state = torch.baddbmm(state if fade is None else fade * state, leave, news)
    return torch.cat(out, 1)[:, :length].transpose(1, 2), state.unflatten(0, heads)


def _lined(x: Tensor) -> tuple[Tensor, ...]:
    """(n, B, H, ...) -> n times (B * H, ...)."""
    return x.flatten(1, 2).unbind(0)


def _several(
    tokens: tuple[Tensor, Tensor, Tensor, Tensor], f: Factors
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Factors]]:
    """(B, H, n, c, ...) -> (m, B, H, c, ...), m blocks at a time."""
    q, _, v, _ = tokens
    many, block = q.shape[2:4]
    if q.device.type == "cpu":
        many = max(1, ROOM // max(1, q.shape[0] * q.shape[1] * block * max(block, q.shape[4], v.shape[4])))
    inside = f.inside.expand(*(1,) * (5 - f.inside.dim()), *f.inside.shape)
    parts = [x.split(many, 2) for x in tokens]
    pieces = range(len(parts[0]))
    for x in (inside, f.enter, f.leave, f.through):
        parts.append([x for _ in pieces] if x is None or x.shape[2] == 1 else x.split(many, 2))
    for piece in zip(*parts, strict=True):
        q, k, v, b = (x.movedim(2, 0).contiguous() for x in piece[:4])
        here: list[Any] = [None if x is None else x.movedim(2, 0) for x in piece[4:]]
        yield q, k, v, b, Factors._make((*here, f.end))


class _Inverse(torch.autograd.Function):
    """(I + A)^-1 (..., c, c) of what A (..., c, c) has below its diagonal."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        found = _inverse(a)
        ctx.save_for_backward(found)
        return found

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (found,) = ctx.saved_tensors
        return -(found.mT @ g @ found.mT).tril(-1)


def _inverse(a: Tensor) -> Tensor:
    """[[A, 0], [C, B]]^-1 = [[A^-1, 0], [-B^-1 C A^-1, B^-1]], from small blocks on the diagonal upwards.

    As exact as substitution: nothing but answers of subsystems is multiplied, no powers of A, which grow.
    """
    size, many = a.shape[-1], 1
    while size > BASE and size % 2 == 0:
        size, many = size // 2, many * 2
    cells = a.unflatten(-1, (many, size)).unflatten(-3, (many, size)).movedim(-2, -3)  # (..., many, many, size, size)
    eye = torch.eye(size, dtype=a.dtype, device=a.device)
    found = torch.linalg.solve_triangular(_diagonal(cells), eye, upper=False, unitriangular=True)
    while many > 1:
        many, size = many // 2, size * 2
        upper, lower = found[..., 0::2, :, :], found[..., 1::2, :, :]
        cells = a.unflatten(-1, (many, size)).unflatten(-3, (many, size)).movedim(-2, -3)
        half = size // 2
        found = a.new_zeros(*a.shape[:-2], many, size, size)
        found[..., :half, :half], found[..., half:, half:] = upper, lower
        found[..., half:, :half] = -(lower @ _diagonal(cells)[..., half:, :half] @ upper)
    return found[..., 0, :, :]


def _diagonal(cells: Tensor) -> Tensor:
    """(..., m, m, c, c) -> (..., m, c, c)."""
    return cells.diagonal(dim1=-4, dim2=-3).movedim(-1, -3)


BLOCKS = Kernel("blocks", refuses, run)
