"""State tracking: elements of a group one after the other; answer their product so far, at every place.

`cyclic` adds modulo `order` (order 2: parity), `symmetric` composes permutations of `order` things, of which from 5 on no
solvable circuit of fixed depth is known. With `moves: swaps` only the first may be any, those that follow swap two
neighbours: every element is still equally likely at every place, and few products have to be learned. Liu et al. 2023,
Transformers learn shortcuts to automata; Merrill et al. 2024, The illusion of state.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ._base import Batch, Options, Sized, draw, tokens


class Words(Sized):
    size = "length"

    class Config(Options):
        group: str = Field("cyclic", pattern="^(cyclic|symmetric)$")
        order: int = Field(2, ge=2, le=60)
        moves: Literal["all", "swaps"] = "all"
        length: int = Field(32, gt=1)
        test: int | None = Field(None, gt=1)

        @model_validator(mode="after")
        def _small(self):
            if self.group == "symmetric" and self.order > 5:
                raise ValueError("permutations of at most 5 things, which are 120 elements")
            if self.group == "cyclic" and self.moves == "swaps":
                raise ValueError("swaps are of things, so group must be symmetric")
            return self

    def ends(self):
        return tokens(len(table(self.config.group, self.config.order)))

    def _make(self, rng: torch.Generator, size: int, length: int) -> Batch:
        product = table(self.config.group, self.config.order)
        x = draw(rng, 0, len(product), size, length)
        if self.config.moves == "swaps":
            x[:, 1:] = swaps(self.config.order)[x[:, 1:] % (self.config.order - 1)]
        state, found = x[:, 0], [x[:, 0]]
        for new in x[:, 1:].unbind(1):
            state = product[state, new]
            found.append(state)
        return Batch(x, y=torch.stack(found, 1))


@cache
def table(group: str, order: int) -> Tensor:
    """(n, n): entry (a, b) is the element that a followed by b is; element 0 changes nothing."""
    if group == "cyclic":
        n = torch.arange(order)
        return (n[:, None] + n) % order
    elements = list(permutations(range(order)))
    number = {p: i for i, p in enumerate(elements)}
    return torch.tensor([[number[tuple(b[i] for i in a)] for b in elements] for a in elements])


@cache
def swaps(order: int) -> Tensor:
    """The elements of `table` that change two neighbours."""
    still = list(range(order))
    pairs = [(*still[:i], i + 1, i, *still[i + 2 :]) for i in range(order - 1)]
    elements = list(permutations(range(order)))
    return torch.tensor([elements.index(p) for p in pairs])
