"""Induction: random symbols with one marker, and the marker again at the end; answer what followed it first.

Gu and Dao 2023, Mamba. Only the last position is asked; `test` lengthens the sequence beyond training.
"""

from __future__ import annotations

import torch
from pydantic import Field

from ._base import SKIP, Batch, Options, Sized, draw, tokens


class Induction(Sized):
    size = "length"

    class Config(Options):
        vocab: int = Field(16, ge=2)
        length: int = Field(32, ge=4)
        test: int | None = Field(None, ge=4)

    def ends(self):
        return tokens(self.config.vocab + 1)

    def _make(self, rng: torch.Generator, size: int, length: int) -> Batch:
        marker = self.config.vocab
        x = draw(rng, 0, marker, size, length)
        at = draw(rng, 0, length - 2, size)
        rows = torch.arange(size)
        x[rows, at] = marker
        x[:, -1] = marker
        target = torch.full_like(x, SKIP)
        target[:, -1] = x[rows, at + 1]
        return Batch(x, y=target)
