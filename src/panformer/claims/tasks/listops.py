"""ListOps: the value of a nested prefix expression over digits, ten classes: MAX, MIN, MED and SUM modulo 10.

Nangia and Bowman 2018; Tay et al. 2020, Long Range Arena. Trees of bounded depth, between `low` and `high` tokens. The
`short` grammar nests an argument once in three and takes the upper of two middle numbers; `arena` is the published one:
an argument is an expression once in four, and MED is the mean of two middle numbers, rounded down. The published sizes
are `low: null` (501), high 1999, depth 10 (of which the last is of digits alone) and 2 to 10 arms.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal

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
ARENA = {**RULES, 13: lambda v: (sorted(v)[(len(v) - 1) // 2] + sorted(v)[len(v) // 2]) // 2}
NESTED = 0.25  # share of the arguments that are expressions, as published
VOCAB = 15


class ListOps(Task):
    class Config(Options):
        low: int | None = Field(8, ge=4, description="null: a quarter of high")
        high: int = Field(48, ge=4)
        depth: int = Field(3, gt=0)
        arms: int = Field(4, ge=2)
        grammar: Literal["short", "arena"] = "short"

        @model_validator(mode="after")
        def _ordered(self):
            if (self.low or 0) > self.high:
                raise ValueError("low is above high")
            if self.grammar == "arena" and self.depth < 2:
                raise ValueError("the last of the depth is of digits alone; depth must be 2 or more")
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
        c = self.config
        low = c.high // 4 + 1 if c.low is None else c.low
        dice = random.Random(_pick(rng, 0, 2**31)) if c.grammar == "arena" else None
        while True:
            if dice is None:
                tokens, value = _grow(rng, c.depth, c.arms)
            else:
                tokens, value = _arena(dice, c.depth - 1, c.arms, c.high)
            if low <= len(tokens) <= c.high:
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


def _arena(dice: random.Random, depth: int, arms: int, most: int) -> tuple[list[int], int]:
    """An expression with at most `depth` operators above each other; it stops where it has more than `most` tokens."""
    tokens: list[int] = []
    open_: list[tuple[int, int, list[int]]] = []  # operator, arguments it takes, values of those it has
    value: int | None = None
    while value is None or open_:
        if value is not None:
            op, count, values = open_[-1]
            values.append(value)
            value = None
            if len(values) == count:
                open_.pop()
                tokens.append(CLOSE)
                value = ARENA[op](values)
        elif not open_ or (len(open_) < depth and dice.random() < NESTED):
            if len(tokens) > most:
                break
            open_.append((dice.randint(11, 14), dice.randint(2, arms), []))
            tokens.append(open_[-1][0])
        else:
            value = dice.randint(0, 9)
            tokens.append(value)
    return tokens, value or 0


def _pick(rng: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high, (), generator=rng))
