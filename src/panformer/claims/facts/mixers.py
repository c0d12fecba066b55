"""Facts about single mixers, in float64: one function in several forms, and what one reduces to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...core.errors import InputError
from ...core.layout import Layout
from ...core.part import config
from ...ops import backend

Pair = tuple[Tensor, Tensor]


def forms(
    seed: int, mixer: Mapping[str, Any], width: int = 16, pieces: Sequence[int] = (3, 1, 7, 2), keep: bool = True
) -> Pair:
    """A causal mixer read in pieces of these sizes, each after the state of the last; and read at once.

    `keep: false` starts every piece afresh, which must not be equal.
    """
    part, x = _mixer(seed, mixer, width, sum(pieces))
    state, out, place = part.start(2, x), [], 0
    for size in pieces:
        if not keep:
            state = part.start(2, x)
        y, state = part.chunk(x[:, place : place + size], Layout.dense(2, size, place), state)
        out.append(y)
        place += size
    return torch.cat(out, 1), part(x, Layout.dense(2, place))


def kernels(seed: int, mixer: Mapping[str, Any], width: int = 16, length: int = 37) -> Pair:
    """A mixer as it runs by default, and with every operator replaced by its slow reference."""
    part, x = _mixer(seed, mixer, width, length)
    with backend.record() as used:
        fast = part(x, Layout.dense(2, length))
    if all(name.endswith(":reference") for name in used):
        raise InputError(f"kernels: {mixer} ran on its reference, so there is nothing to compare")
    with backend.only("reference"):
        return fast, part(x, Layout.dense(2, length))


def one_head(seed: int, heads: int = 4, width: int = 16, repeated: bool = True) -> Pair:
    """Multi-query attention, and multi-head attention whose heads all hold that one head's keys and values.

    `repeated: false` gives the heads weights of their own, which must not be equal.
    """
    shared, x = _mixer(seed, {"use": "attention", "heads": heads, "kv_heads": 1, "causal": True}, width, 11)
    every, _ = _mixer(seed + 1, {"use": "attention", "heads": heads, "causal": True}, width, 11)
    with torch.no_grad():
        for name in ("q", "o"):
            getattr(every, name).weight.copy_(getattr(shared, name).weight)
        for name in ("k", "v") if repeated else ():
            getattr(every, name).weight.copy_(getattr(shared, name).weight.repeat(heads, 1))
    return shared(x, Layout.dense(2, 11)), every(x, Layout.dense(2, 11))


def dft(seed: int, width: int = 12, length: int = 10, channels: bool = True) -> Pair:
    """The Fourier mixer, and the real part of x between two Fourier matrices written out.

    `channels: false` leaves out the transform along channels, which must not be equal.
    """
    part, x = _mixer(seed, {"use": "fourier"}, width, length)
    along, across = _waves(length), _waves(width) if channels else torch.eye(width, dtype=torch.complex128)
    return part(x, Layout.dense(2, length)), (along @ x.to(torch.complex128) @ across).real


def _waves(n: int) -> Tensor:
    """(n, n) complex: exp(-2 pi i j k / n)."""
    place = torch.arange(n, dtype=torch.float64)
    turn = -2 * torch.pi * place[:, None] * place / n
    return torch.polar(torch.ones_like(turn), turn)


def _mixer(seed: int, tree: Mapping[str, Any], width: int, length: int) -> tuple[Any, Tensor]:
    """(the mixer with random weights, (2, length, width) values), both in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        part = config("mixers", dict(tree)).build(width).double().eval()
        return part, torch.randn(2, length, width, dtype=torch.float64)
