"""Recall where keys and values are words of one to `most` tokens: k1 v1 k2 v2 ..., then one of the keys; spell its value.

Poli et al. 2024, Mechanistic design and scaling of hybrid architectures (MAD). Key tokens and value tokens are halves of
the vocabulary, so that where a word ends is seen when the other kind begins. The spelled tokens of the value are given
back to the model as they are asked; all but its length must be known: one further token, END, is asked after it.
"""

from __future__ import annotations

import torch
from pydantic import Field

from ._base import SKIP, Batch, Options, Sized, exact, tokens


class FuzzyRecall(Sized):
    size = "pairs"

    class Config(Options):
        vocab: int = Field(16, ge=4)
        pairs: int = Field(6, gt=0)
        most: int = Field(3, gt=0, description="tokens of the longest word")
        test: int | None = Field(None, gt=0)

    def ends(self):
        return tokens(self.config.vocab + 1)

    def score(self, out, target):
        return exact(out, target)

    def _make(self, rng: torch.Generator, size: int, pairs: int) -> Batch:
        rows = [self._row(rng, pairs) for _ in range(size)]
        lengths = torch.tensor([len(x) for x, _ in rows])
        x = torch.zeros(size, int(lengths.max()), dtype=torch.int64)
        y = torch.full_like(x, SKIP)
        for i, (told, asked) in enumerate(rows):
            x[i, : len(told)], y[i, : len(asked)] = torch.tensor(told), torch.tensor(asked)
        return Batch(x, lengths, y)

    def _row(self, rng: torch.Generator, pairs: int) -> tuple[list[int], list[int]]:
        half, end = self.config.vocab // 2, self.config.vocab
        book: dict[tuple[int, ...], list[int]] = {}
        while len(book) < min(pairs, half):
            book.setdefault(tuple(self._word(rng, 0, half)), self._word(rng, half, end))
        keys = list(book)
        key = keys[int(torch.randint(0, len(keys), (), generator=rng))]
        told = [t for k, v in book.items() for t in (*k, *v)] + list(key)
        asked = [*book[key], end]
        return told + asked[:-1], [SKIP] * (len(told) - 1) + asked

    def _word(self, rng: torch.Generator, low: int, high: int) -> list[int]:
        length = int(torch.randint(1, self.config.most + 1, (), generator=rng))
        return torch.randint(low, high, (length,), generator=rng).tolist()
