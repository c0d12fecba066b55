"""Copy a uniform random string: START s1 .. sn END s1 .. sn, asked only on the second half.

Jelassi et al. 2024, Repeat After Me. Trained on lengths low to high, tested at exactly `test`.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ._base import SKIP, Batch, draw, tokens
from ._ranged import Ranged


class Copy(Ranged):
    class Config(Ranged.Config):
        vocab: int = Field(26, ge=2)
        high: int = Field(20, gt=0)

    def ends(self):
        return tokens(self.config.vocab + 2)

    def _make(self, rng: torch.Generator, lengths: Tensor) -> Batch:
        """Row i: START, n_i symbols, END, the symbols again; 2 n_i + 1 tokens are read."""
        start, end = self.config.vocab, self.config.vocab + 1
        longest = int(lengths.max())
        text = draw(rng, 0, self.config.vocab, len(lengths), longest)
        where = torch.arange(2 * longest + 1)[None]  # (1, T)
        n = lengths[:, None]
        x = torch.where(where == 0, start, torch.where(where == n + 1, end, text.gather(1, _within(where, n, longest))))
        ahead = text.gather(1, _within(where + 1, n, longest))
        target = torch.where((where > n) & (where <= 2 * n), ahead, SKIP)
        real = 2 * n + 1
        return Batch(torch.where(where < real, x, 0), real[:, 0], torch.where(where < real, target, SKIP))


def _within(where: Tensor, n: Tensor, longest: int) -> Tensor:
    """Index into the text of the symbol that stands at `where` in START text END text."""
    return torch.where(where <= n, where - 1, where - n - 2).clamp(0, longest - 1)
