"""digraph by one scan for each Hessenberg factor: work and memory linear in the tokens."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..backend import Kernel
from ..scan import affine, scan


class Rotations(NamedTuple):
    """Entries (N, L - 1) of the unitary 2 x 2 matrices of neighbours: [[ii, ij], [ji, jj]]."""

    ii: Tensor
    ij: Tensor
    ji: Tensor
    jj: Tensor

    @property
    def back(self) -> Rotations:
        """The inverses."""
        return Rotations(self.ii.conj(), self.ji.conj(), self.ij.conj(), self.jj.conj())


def refuses(re: Tensor, im: Tensor, turns: Tensor, f: Tensor, real: Tensor, stride: int) -> str | None:
    return None


def run(re: Tensor, im: Tensor, turns: Tensor, f: Tensor, real: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    kind, wide = re.dtype, torch.promote_types(re.dtype, torch.float32)
    lower, upper = rotations(turns.to(wide), real)
    where = None if stride == 1 else order(real, stride)
    y = _moved(torch.complex(re.to(wide), im.to(wide)), where)
    y = _down(_up(y, upper), lower)
    y = phase(f.to(wide))[..., None] * y
    y = _down(_up(y, lower.back), upper.back)
    y = _moved(y, None if where is None else where.argsort(1))
    return y.real.to(kind), y.imag.to(kind)


def rotations(turns: Tensor, real: Tensor) -> tuple[Rotations, Rotations]:
    """(those of H_l, those of H_u) from (N, L, 6); nothing turns what is not real."""
    both = real[:, 1:, None]
    lower, upper = turns[:, :-1, :3].masked_fill(~both, 0), turns[:, 1:, 3:].masked_fill(~both, 0)
    return _entries(lower), _entries(upper)


def phase(f: Tensor) -> Tensor:
    """exp(i f)."""
    return torch.complex(f.cos(), f.sin())


def order(real: Tensor, stride: int) -> Tensor:
    """(N, L) int64: which place comes first, second ...; what is not real keeps its place."""
    place = torch.arange(real.shape[1], device=real.device)
    turn = place % stride * real.shape[1] + place // stride
    return torch.where(real, turn, stride * real.shape[1] + place).argsort(1)


def _entries(turns: Tensor) -> Rotations:
    a, b, c = (math.pi * turns).unbind(-1)
    outer, inner = phase(a + b), phase(a - b)
    cos, sin = c.cos(), c.sin()
    return Rotations(outer.conj() * cos, -inner * sin, inner.conj() * sin, outer * cos)


def _up(x: Tensor, g: Rotations) -> Tensor:
    """G_0 G_1 ... G_{L-2} x, the last rotation first: h_k = ii_k x_k + ij_k h_{k+1} is what it hands on to the next."""
    ii, ij, ji, jj = (z[..., None] for z in g)
    start = torch.cat((ii * x[:, :-1], x[:, -1:]), 1).flip(1)
    h = scan(affine, (F.pad(ij, (0, 0, 0, 1)).flip(1), start))[1].flip(1)
    return torch.cat((h[:, :1], ji * x[:, :-1] + jj * h[:, 1:]), 1)


def _down(x: Tensor, g: Rotations) -> Tensor:
    """G_{L-2} ... G_1 G_0 x, the first rotation first: h_{k+1} = ji_k h_k + jj_k x_{k+1}."""
    ii, ij, ji, jj = (z[..., None] for z in g)
    start = torch.cat((x[:, :1], jj * x[:, 1:]), 1)
    h = scan(affine, (F.pad(ji, (0, 0, 1, 0)), start))[1]
    return torch.cat((ii * h[:, :-1] + ij * x[:, 1:], h[:, -1:]), 1)


def _moved(x: Tensor, where: Tensor | None) -> Tensor:
    return x if where is None else x.gather(1, where[..., None].expand_as(x))


SCANS = Kernel("scans", refuses, run)
