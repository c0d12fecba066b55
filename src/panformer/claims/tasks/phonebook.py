"""A phone book: names with their numbers, then one name; answer its number, digit after digit.

Jelassi et al. 2024, Repeat After Me. A name is one token of its own, drawn without repeats; a number has `digits` digits,
which are given back to the model as they are asked. The answer is right where the whole number is.
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator

from ._base import SKIP, Batch, Options, Sized, distinct, draw, exact, tokens


class Phonebook(Sized):
    size = "entries"

    class Config(Options):
        names: int = Field(64, gt=1)
        entries: int = Field(8, gt=0)
        digits: int = Field(3, gt=0)
        test: int | None = Field(None, gt=0, description="entries in the test, as in training by default")

        @model_validator(mode="after")
        def _named(self):
            if max(self.entries, self.test or 0) > self.names:
                raise ValueError("more entries than names")
            return self

    def ends(self):
        return tokens(10 + self.config.names, 10)

    def score(self, out, target):
        return exact(out, target)

    def _make(self, rng: torch.Generator, size: int, entries: int) -> Batch:
        """name d d d name d d d ... name d d, of which the last three positions ask."""
        names = 10 + distinct(rng, size, self.config.names, entries)
        numbers = draw(rng, 0, 10, size, entries, self.config.digits)
        book = torch.cat([names[..., None], numbers], -1).flatten(1)
        row, asked = torch.arange(size), draw(rng, 0, entries, size)
        answer = numbers[row, asked]
        x = torch.cat([book, names[row, asked][:, None], answer[:, :-1]], 1)
        return Batch(x, y=torch.cat([torch.full_like(book, SKIP), answer], 1))
