"""Add two numbers of n digits: A + B = C, asked on the n + 1 digits of C and what stands between them.

Trained on low to high digits, tested at exactly `test`. `first` says whether a number begins with its highest or its
lowest digit. With `hints` h every digit comes after a marker, the same one for all digits of one place; the markers of
a sum are neighbours among h, beginning anywhere. Digits of a smaller `base` are learned sooner. Zhou et al. 2024, Transformers can achieve length generalization but
not robustly.
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ._base import SKIP, Batch, Options, Task, draw, exact, tokens

PLUS, EQUALS, HINT = 10, 11, 12  # 0 to 9 are digits; markers come last


class Addition(Task):
    class Config(Options):
        low: int = Field(1, gt=0)
        high: int = Field(5, gt=0)
        test: int | None = Field(None, gt=0, description="digits in the test, `high` by default")
        base: int = Field(10, ge=2, le=10)
        first: str = Field("high", pattern="^(high|low)$")
        hints: int = Field(0, ge=0, description="markers there are; 0: digits stand alone")
        score: str = Field("string", pattern="^(digit|string)$", description="share of whole sums, or of digits")

        @model_validator(mode="after")
        def _fits(self):
            if self.low > self.high:
                raise ValueError("low is above high")
            if 0 < self.hints <= max(self.high, self.test or 0):
                raise ValueError("hints must be more than the digits of a number")
            return self

    later = frozenset({"test", "score"})

    def ends(self):
        return tokens(HINT + self.config.hints)

    def batch(self, rng, size):
        return self._make(rng, draw(rng, self.config.low, self.config.high + 1, size))

    def test(self, rng, size):
        return self._make(rng, torch.full((size,), self.config.test or self.config.high))

    def score(self, out, target):
        if self.config.score == "string":
            return exact(out, target)
        return super().score(out, torch.where(target < HINT, target, SKIP))  # markers tell themselves

    def _make(self, rng: torch.Generator, digits: Tensor) -> Batch:
        """Row i: the sum of two numbers of digits_i digits, without its last token, which is only asked."""
        pairs = draw(rng, 0, self.config.base, len(digits), 2, int(digits.max()))
        starts = torch.rand(len(digits), generator=rng)
        each = 2 if self.config.hints else 1
        lengths = each * (3 * digits + 1) + 1
        x = torch.zeros(len(digits), int(lengths.max()), dtype=torch.int64)
        y = torch.full_like(x, SKIP)
        for n in digits.unique().tolist():
            here = digits == n
            told = self._told(pairs[here, :, :n], starts[here])  # (k, T + 1)
            length, asked = told.shape[1] - 1, each * (n + 1)
            x[here, :length] = told[:, :-1]
            y[here, length - asked : length] = told[:, -asked:]
        return Batch(x, lengths, y)

    def _told(self, pairs: Tensor, starts: Tensor) -> Tensor:
        """pairs (k, 2, n) digits, lowest first; starts (k,) in [0, 1), where the markers begin -> (k, T) tokens."""
        n = pairs.shape[-1]
        first = (starts * (self.config.hints - n)).long()
        a, b, c = (self._number(x, first) for x in (*pairs.unbind(1), total(pairs, self.config.base)))
        plus, equals = (torch.full((len(pairs), 1), mark) for mark in (PLUS, EQUALS))
        return torch.cat([a, plus, b, equals, c], 1)

    def _number(self, digits: Tensor, first: Tensor) -> Tensor:
        """(k, m) digits, lowest first -> (k, m) or (k, 2m) tokens, in the order that the task writes."""
        if self.config.hints:
            marks = HINT + first[:, None] + torch.arange(digits.shape[1])
            digits = torch.stack([marks, digits], -1)
        return (digits.flip(1) if self.config.first == "high" else digits).flatten(1)


def total(pairs: Tensor, base: int) -> Tensor:
    """(k, 2, n) digits, lowest first -> (k, n + 1) digits of the sum."""
    carry = torch.zeros(len(pairs), dtype=torch.int64)
    out = []
    for both in pairs.sum(1).unbind(1):
        out.append((both + carry) % base)
        carry = (both + carry) // base
    return torch.stack([*out, carry], 1)
