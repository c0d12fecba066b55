"""Selective copying: symbols scattered among blanks at random places, then as many cues; answer them in order.

Gu and Dao 2023, Mamba (after Arjovsky et al. 2016). The spacing varies, so a fixed filter cannot solve it.
`spread: false` puts the symbols first, one after the other, which a fixed filter can solve.
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator

from ._base import SKIP, Batch, Options, Sized, distinct, draw, tokens


class SelectiveCopy(Sized):
    size = "length"

    class Config(Options):
        vocab: int = Field(8, ge=2)
        symbols: int = Field(4, gt=0)
        length: int = Field(32, gt=0, description="symbols and blanks, before the cues")
        test: int | None = Field(None, gt=0)
        spread: bool = True

        @model_validator(mode="after")
        def _fits(self):
            if self.symbols > min(self.length, self.test or self.length):
                raise ValueError("more symbols than places")
            return self

    def ends(self):
        return tokens(self.config.vocab + 2)

    def _make(self, rng: torch.Generator, size: int, length: int) -> Batch:
        blank, cue, count = self.config.vocab, self.config.vocab + 1, self.config.symbols
        symbols = draw(rng, 0, blank, size, count)
        places = distinct(rng, size, length, count).sort(-1).values
        if not self.config.spread:
            places = torch.arange(count).expand(size, count)
        x = torch.full((size, length + count), blank)
        x.scatter_(1, places, symbols)
        x[:, length:] = cue
        target = torch.full_like(x, SKIP)
        target[:, length:] = symbols
        return Batch(x, y=target)
