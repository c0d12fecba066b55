"""Attention of a trained model over fewer pairs, without training: by blocks, lines, pages or tokens.

A unit chooses which keys queries see, by an estimate of the weights, so that about a `share` of what they saw is left:

blocks   block pairs by the product of the mean query and the mean key, the own block always; Zhu et al. 2024, as in MInference
lines    columns and diagonals by the weights of the last queries of the prompt; Jiang et al. 2024, MInference
pages    for every query the pages of keys by an upper bound of its scores in them; Tang et al. 2024, Quest
tokens   once, at the end of the prompt, the tokens that its last queries weigh most; the others are forgotten. Li et al.
         2024, SnapKV

The first two serve prompts, the others what comes after. Everything is done on dense scores: what is measured is what an answer
loses, not how long it takes. Nawrot et al. 2025, The Sparse Frontier.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.layout import Layout
from ..core.score import Given, Score
from ..model.model import Model
from ..model.operators import swapped
from ..ops.attend import attend, products, spread

Unit = Literal["blocks", "lines", "pages", "tokens"]
SIZES = {"blocks": 4, "pages": 4}
LAST = 8  # queries of the prompt by whose weights lines and tokens are chosen
POOLED = 3  # tokens over which those weights are averaged, so that what is kept comes with its neighbours


@dataclass(frozen=True)
class Sparse:
    """`ops.attend` in which a unit chooses; queries before `border` are the prompt. Rows are full and of one length."""

    unit: Unit
    share: float
    border: int

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, score: Score, q_at: Layout, k_at: Layout, scale: float,
        dropout: float = 0.0, cap: float | None = None,
    ) -> Tensor:  # fmt: skip
        keep = self.keep(q, spread(k, q.shape[1]), score, q_at, k_at, scale, cap)
        hidden = torch.zeros(keep.shape, dtype=q.dtype, device=q.device).masked_fill(~keep, -torch.inf)
        return attend(q, k, v, score + Given(hidden), q_at, k_at, scale, dropout, cap)

    def keep(
        self, q: Tensor, k: Tensor, score: Score, q_at: Layout, k_at: Layout, scale: float, cap: float | None = None
    ) -> Tensor:
        """(B, H, T, S) bool: which pairs are left. q (B, H, T, E), k (B, H, S, E)."""
        if not (q_at.full and k_at.full and q_at.length == k_at.length):
            raise InputError("sparsify: rows are read whole, full and of one length")
        value = score.value(q_at, k_at).expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
        sees, prompt = value > -torch.inf, torch.arange(q.shape[2], device=q.device) < self.border
        if self.unit in ("blocks", "lines"):
            kept = {"blocks": blocks, "lines": lines}[self.unit](q, k, value, scale, self.share, self.border)
            return sees & (kept | ~prompt[:, None])
        if self.unit == "pages":
            return sees & (pages(q, k, sees, self.share) | prompt[:, None])
        logits = (products(q, k, scale, cap) + value)[:, :, : self.border, : self.border]
        stay = tokens(logits.softmax(-1), self.share)
        kept = F.pad(stay, (0, k.shape[2] - self.border), value=True)  # what comes later is never forgotten
        return sees & (kept[:, :, None] | prompt[:, None])


@contextmanager
def sparsified(model: Model, unit: Unit, share: float, border: int) -> Iterator[None]:
    """Within, every attention of the model sees only what the unit chooses."""
    if not 0 < share <= 1 or border < 1:
        raise InputError(f"sparsify: a share within (0, 1] and a border of at least 1 token, got {share} and {border}")
    with swapped(model, Sparse(unit, share, border)):
        yield


def blocks(q: Tensor, k: Tensor, value: Tensor, scale: float, share: float, border: int) -> Tensor:
    """(B, H, T, S) bool: for a block of queries the own block and the best of those it sees, `share` of them in all."""
    size = SIZES["blocks"]
    mean_q, mean_k = (_paged(x, size).nanmean(3) for x in (q, k))
    sees = _paged(_paged(value > -torch.inf, size).any(3).mT, size).any(3).mT  # (B, H, blocks, blocks)
    logits = (mean_q @ mean_k.mT * scale).masked_fill(~sees, -torch.inf)
    own = torch.eye(*sees.shape[-2:], dtype=torch.bool, device=q.device)
    kept = _best(logits.masked_fill(own & sees, torch.inf), (share * sees.sum(-1, keepdim=True)).round().clamp(min=1))
    wide = kept.repeat_interleave(size, 2).repeat_interleave(size, 3)
    return wide[:, :, : q.shape[2], : k.shape[2]]


def lines(q: Tensor, k: Tensor, value: Tensor, scale: float, share: float, border: int) -> Tensor:
    """(B, H, T, S) bool: as many of the best columns as of the best diagonals, so that about `share` of the pairs is seen.

    The main diagonal is among them. With share 1 all diagonals are there, and all is seen.
    """
    n, last = border, min(LAST, border)
    logits = q[:, :, n - last : n] @ k[:, :, :n].mT * scale + value[:, :, n - last : n, :n]
    weight = logits.softmax(-1)
    i, j = torch.arange(n - last, n, device=q.device)[:, None], torch.arange(n, device=q.device)
    behind = (i - j).clamp(min=0).expand(weight.shape)
    slash = weight.new_zeros(*weight.shape[:2], n).scatter_add(2, behind.flatten(2), weight.flatten(2))
    slash[..., 0] = torch.inf
    count = max(1, round(n * (1 - math.sqrt(1 - share))))  # of each: so many leave 1 - share of the pairs unseen
    up, across = (_best(x, torch.tensor(float(count), device=q.device)) for x in (weight.sum(2), slash))
    t, s = torch.arange(q.shape[2], device=q.device)[:, None], torch.arange(k.shape[2], device=q.device)
    apart = (t - s).clamp(0, n - 1)
    columns = F.pad(up, (0, k.shape[2] - n))[:, :, None].expand(-1, -1, q.shape[2], -1)
    return columns | across[:, :, apart] & (t >= s)


def pages(q: Tensor, k: Tensor, sees: Tensor, share: float) -> Tensor:
    """(B, H, T, S) bool: for every query the pages whose bound is highest, `share` of those it sees any of, rounded up."""
    size = SIZES["pages"]
    found = _paged(sees.mT, size).any(3).mT  # (B, H, T, pages)
    kept = _best(bounds(q, k).masked_fill(~found, -torch.inf), (share * found.sum(-1, keepdim=True)).ceil())
    return kept.repeat_interleave(size, 3)[..., : k.shape[2]]


def bounds(q: Tensor, k: Tensor) -> Tensor:
    """(B, H, T, pages): sum over channels of the larger of q times the page's least and largest key: no q . k is above."""
    paged = _paged(k, SIZES["pages"])
    empty = paged.isnan()
    low, high = paged.masked_fill(empty, torch.inf).amin(3), paged.masked_fill(empty, -torch.inf).amax(3)
    return q.clamp(min=0) @ high.mT + q.clamp(max=0) @ low.mT


def tokens(weight: Tensor, share: float) -> Tensor:
    """(B, H, S) bool: the last LAST tokens of the prompt, and the best of the others. weight (B, H, S, S) within the prompt."""
    n = weight.shape[-1]
    last = min(LAST, n)
    total = weight[:, :, n - last :].sum(2)
    total = F.avg_pool1d(total, POOLED, 1, POOLED // 2)
    total[..., n - last :] = torch.inf
    return _best(total, torch.tensor(float(max(1, math.ceil(share * n))), device=weight.device))


def _best(x: Tensor, count: Tensor) -> Tensor:
    """Whether an entry is among the `count` highest along the last axis; -inf never is."""
    rank = x.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return (rank < count) & (x > -torch.inf)


def _paged(x: Tensor, size: int) -> Tensor:
    """(B, H, T, E) -> (B, H, pages, size, E); what is missing of the last one is nan, or false."""
    full = False if x.dtype == torch.bool else torch.nan
    return F.pad(x, (0, 0, 0, -x.shape[2] % size), value=full).unflatten(2, (-1, size))
