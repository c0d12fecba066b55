"""Sorting: numbers, then as many cues; answer the numbers in order, smallest first.

Trained on lengths low to high, tested at exactly `test`.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ._base import SKIP, Batch, draw, tokens
from ._ranged import Ranged


class Sort(Ranged):
    class Config(Ranged.Config):
        vocab: int = Field(32, ge=2, description="numbers there are; one may come again")
        high: int = Field(8, gt=0)

    def ends(self):
        return tokens(self.config.vocab + 1, self.config.vocab)

    def _make(self, rng: torch.Generator, lengths: Tensor) -> Batch:
        """Row i: n_i numbers and n_i cues."""
        vocab, longest, n = self.config.vocab, int(lengths.max()), lengths[:, None]
        numbers = draw(rng, 0, vocab, len(lengths), longest)
        where = torch.arange(2 * longest)[None]
        ordered = torch.where(torch.arange(longest) < n, numbers, vocab).sort(-1).values
        asked = (where >= n) & (where < 2 * n)
        x = torch.where(where < n, numbers.gather(1, where.clamp(max=longest - 1).expand(len(n), -1)), vocab)
        y = ordered.gather(1, (where - n).clamp(0, longest - 1))
        return Batch(torch.where(where < 2 * n, x, 0), lengths * 2, torch.where(asked, y, SKIP))
