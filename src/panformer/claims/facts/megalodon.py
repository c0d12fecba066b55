"""Facts about Megalodon, in float64: what it carries from token to token, against sums over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.part import config
from ...model.build import build
from ...ops import backend
from ...ops import cema as averages
from ...papers.schema import Change
from ..arms import spec_of

Sides = tuple[list[Tensor], list[Tensor]]


def cema(seed: int, length: int = 150, turns: bool = True) -> Sides:
    """The averages in blocks and token by token, and as one long convolution by Fourier transforms.

    `turns: false` leaves the angles out of the convolution, which must not be equal.
    """
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    x, fall, turn, weight = draw(2, length, 6), -draw(6, 4).exp() / 4, draw(6, 4), draw(6, 4, 2)
    answers = []
    for form in ("blocks", "reference"):
        with backend.only(form, averages.cema):
            answers.append(averages.cema(x, fall, turn, weight, Layout.dense(2, length), None)[0])
    q = torch.polar(fall.exp(), turn if turns else torch.zeros_like(turn))[..., None]
    kernel = (torch.view_as_complex(weight)[..., None] * q ** torch.arange(length)).sum(1).real
    waves = torch.fft.rfft(kernel, 2 * length) * torch.fft.rfft(x.mT, 2 * length)
    return answers, [torch.fft.irfft(waves, 2 * length)[..., :length].mT] * 2


def timestep(seed: int, pieces: Sequence[int] = (3, 1, 7, 2), groups: int = 4, keep: bool = True) -> Sides:
    """The norm read at once and in pieces of these sizes, and the group normalisation of each token with those before.

    `keep: false` starts every piece afresh, which must not be equal.
    """
    part = config("norms", {"use": "timestep", "groups": groups}).build(16).double()
    length = sum(pieces)
    x = 3 + torch.randn(2, length, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    state, out, place = part.start(2, x), [], 0
    for size in pieces:
        y, new = part.chunk(x[:, place : place + size], Layout.dense(2, size, place), state)
        state, place = new if keep else state, place + size
        out.append(y)
    want = [torch.nn.functional.group_norm(x[:, : t + 1].mT, groups, eps=part.eps)[..., -1] for t in range(length)]
    return [part(x, Layout.dense(2, length)), torch.cat(out, 1)], [torch.stack(want, 1)] * 2


def streamed(
    seed: int, model: Mapping[str, Any], pieces: Sequence[int] = (3, 1, 50, 31, 15), keep: bool = True
) -> Sides:
    """The whole model's answers to bytes read in pieces of these sizes, and at once. `keep: false` as in `timestep`."""
    ends = {"causal": True, "embed": {"use": "tokens", "vocab": 97}, "head": {"use": "lm", "vocab": 97}}
    net = build(spec_of(model, Change(), ends), seed=seed).double().eval()
    x = torch.randint(0, 97, (2, sum(pieces)), generator=torch.Generator().manual_seed(seed))
    stream, out = net.start(2), []
    with torch.no_grad():
        for piece in x.split(list(pieces), 1):
            y, after = net.chunk(piece, stream)
            stream = after if keep else stream
            out.append(y)
        return [torch.cat(out, 1)], [net(x)]
