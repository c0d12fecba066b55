"""ListOps: the value of a nested prefix expression over digits, ten classes.

Nangia and Bowman 2018; Tay et al. 2020 (LRA). Short here: MAX, MIN, MED and SUM modulo 10, trees of
bounded depth, between `low` and `high` tokens.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field, model_validator

from ._base import Batch, Options, Task

CLOSE, OPS = 10, {"MAX": 11, "MIN": 12, "MED": 13, "SUM": 14}
RULES: dict[int, Callable[[list[int]], int]] = {
    11: max,
    12: min,
    13: lambda v: sorted(v)[len(v) // 2],
    14: lambda v: sum(v) % 10,
}
VOCAB = 15


class ListOps(Task):
    class Config(Options):
        low: int = Field(8, ge=4)
        high: int = Field(48, ge=4)
        depth: int = Field(3, gt=0)
        arms: int = Field(4, ge=2)

        @model_validator(mode="after")
        def _ordered(self):
            if self.low > self.high:
                raise ValueError("low is above high")
            return self

    def ends(self):
        return {"embed": {"use": "tokens", "vocab": VOCAB}, "head": {"use": "classify", "classes": 10}}

    def batch(self, rng, size):
        found = [self._tree(rng) for _ in range(size)]
        lengths = torch.tensor([len(tokens) for tokens, _ in found])
        x = torch.zeros(size, self.config.high, dtype=torch.int64)
        for row, (tokens, _) in zip(x, found, strict=True):
            row[: len(tokens)] = torch.tensor(tokens)
        longest = int(lengths.max())
        return Batch(x[:, :longest], lengths, torch.tensor([value for _, value in found]))

    def _tree(self, rng: torch.Generator) -> tuple[list[int], int]:
        while True:
            tokens, value = _grow(rng, self.config.depth, self.config.arms)
            if self.config.low <= len(tokens) <= self.config.high:
                return tokens, value


def _grow(rng: torch.Generator, depth: int, arms: int) -> tuple[list[int], int]:
    op = _pick(rng, 11, 15)
    tokens, values = [op], []
    for _ in range(_pick(rng, 2, arms + 1)):
        nested = depth > 1 and _pick(rng, 0, 3) == 0
        digit = _pick(rng, 0, 10)
        inner, value = _grow(rng, depth - 1, arms) if nested else ([digit], digit)
        tokens += inner
        values.append(value)
    return [*tokens, CLOSE], RULES[op](values)


def _pick(rng: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high, (), generator=rng))
