"""Facts about long convolutions: transforms against Toeplitz matrices, what leaks from later tokens, and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.part import config
from ...measure.matrix import matrix
from ...ops import backend
from ...ops.kernels import long_conv_fft
from ...ops.long_conv import long_conv
from ._time import ratio
from .mixers import _mixer

Sides = tuple[list[Tensor], list[Tensor]]


def toeplitz(
    seed: int, lengths: Sequence[int] = (300,), causal: bool = True, channels: int = 4, shifted: int = 0
) -> Sides:
    """Convolutions by transforms in a packed row, and each sequence by its Toeplitz matrices; answers and gradients.

    `shifted` moves the filter by so many tokens in the matrices, which must not be equal.
    """
    far, at = max(lengths), Layout.packed(lengths)
    ahead = 0 if causal else far - 1
    x, h = _values(seed, (1, sum(lengths), channels), (channels, far + ahead))

    def fast(x: Tensor, h: Tensor) -> Tensor:
        with backend.only("fft"):
            return long_conv(x, h, at, ahead)

    def slow(x: Tensor, h: Tensor) -> Tensor:
        return torch.cat([_product(piece, h, ahead - shifted) for piece in x.split(list(lengths), 1)], 1)

    return _slopes(fast, x, h), _slopes(slow, x, h)


def leak(seed: int, length: int = 300, padded: bool = True) -> float:
    """The largest change of an answer when only later tokens change, by transforms, over the largest answer.

    `padded: false` takes a cycle no longer than the sequence, on which the end meets the beginning.
    """
    x, h = _values(seed, (1, length, 4), (4, length))
    other = torch.cat([x[:, : length // 2], x[:, length // 2 :].flip(1)], 1)

    def run(z: Tensor) -> Tensor:
        if padded:
            return long_conv_fft.run(z, h, 0, length)[:, : length // 2]
        return torch.fft.irfft(torch.fft.rfft(h) * torch.fft.rfft(z.mT), length).mT[:, : length // 2]

    one, two = run(x), run(other)
    return float((one - two).abs().max() / one.abs().max())


def product(seed: int, mixer: Mapping[str, Any], length: int = 70, width: int = 8, gated: bool = True) -> Sides:
    """The matrix of a Hyena mixer in its values with its answer, and the product of its gates and Toeplitz matrices.

    `gated: false` leaves the gates out of the product, which must not be equal.
    """
    part, x = _mixer(seed, mixer, width, length)
    mix, values = part.mixing(x, Layout.dense(2, length))
    gates = part.slots(x, Layout.dense(2, length))[1:]
    ahead = 0 if part.causal else length - 1
    want = torch.eye(length, dtype=x.dtype).expand(2, width, -1, -1)
    for gate, h in zip(gates, part.filters(length, ahead)):
        want = want if h is None else _matrix(h, length, ahead) @ want
        want = gate.mT[..., None] * want if gated else want
    return [matrix(mix, values), part(x, Layout.dense(2, length))], [want, part.output((want @ values)[..., 0].mT)]


def time_over(
    seed: int, mixer: Mapping[str, Any], other: Mapping[str, Any], length: int, width: int = 64, rounds: int = 2
) -> float:
    """Seconds of one mixer over those of another, forward over one sequence in float32; below 1 it is faster."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ours, theirs = (config("mixers", dict(m)).build(width).eval() for m in (mixer, other))
        x, at = torch.randn(1, length, width), Layout.dense(1, length)
    with torch.no_grad():
        return ratio(lambda: ours(x, at), lambda: theirs(x, at), rounds)


def _product(x: Tensor, h: Tensor, ahead: int) -> Tensor:
    return torch.einsum("dts,bsd->btd", _matrix(h, x.shape[1], ahead), x)


def _matrix(h: Tensor, length: int, ahead: int) -> Tensor:
    """(D, T, T) of h (D, K) from distance -ahead on."""
    place = torch.arange(length)
    tap = place[:, None] - place + ahead
    inside = (tap >= 0) & (tap < h.shape[1])
    return torch.where(inside, h[:, tap.clamp(0, h.shape[1] - 1)], 0)


def _slopes(run: Any, *inputs: Tensor) -> list[Tensor]:
    leaves = [z.detach().clone().requires_grad_() for z in inputs]
    y = run(*leaves)
    return [y, *torch.autograd.grad(y.sin().sum(), leaves)]


def _values(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes]
