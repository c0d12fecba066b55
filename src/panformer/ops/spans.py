"""Spans that are hidden from an encoder and asked of a decoder."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.errors import InputError


def spans(length: int, rate: float, mean: float, rng: torch.Generator) -> Tensor:
    """(S, 2) int64, begin and end of hidden spans: a share `rate` of the tokens, in pieces that are `mean` long.

    round(rate length) tokens, at least 1 and not all, fall into round(tokens / mean) pieces, at least 1. Hidden and
    shown pieces take turns, a shown one first; each way to cut the hidden tokens, and the shown, into that many
    pieces of at least one token is as likely. Raffel et al. 2019; Xue et al. 2021 (mean 20, over bytes).
    """
    if length < 2:
        raise InputError(f"a text of {length} tokens has no span to hide")
    hidden = min(max(round(rate * length), 1), length - 1)
    pieces = min(max(round(hidden / mean), 1), hidden, length - hidden)
    shown, asked = (_cut(n, pieces, rng) for n in (length - hidden, hidden))
    end = (shown + asked).cumsum(0)
    return torch.stack([end - asked, end], 1)


def _cut(total: int, pieces: int, rng: torch.Generator) -> Tensor:
    """(pieces,) int64 of sum `total`, each at least 1."""
    inner = torch.randperm(total - 1, generator=rng)[: pieces - 1].sort().values + 1
    return torch.diff(inner, prepend=torch.tensor([0]), append=torch.tensor([total]))


def hide(ids: Tensor, cuts: Tensor, marks: Tensor) -> tuple[Tensor, Tensor]:
    """(source, target) of ids (T,): span i of `cuts` (S, 2) is marks[i] in the source and marks[i], span in the target."""
    if len(cuts) > len(marks):
        raise InputError(f"{len(cuts)} spans need as many marks, not {len(marks)}")
    source, target, at = [], [], 0
    for mark, (begin, end) in zip(marks[: len(cuts), None], cuts.tolist(), strict=True):
        source += [ids[at:begin], mark]
        target += [mark, ids[begin:end]]
        at = end
    return torch.cat([*source, ids[at:]]), torch.cat(target)
