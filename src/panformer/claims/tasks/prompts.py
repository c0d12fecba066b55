"""One prompt of four kinds, and what is read and asked after it: a mix to train on, a kind to test.

`needle`: one key with its value among noise, then the key. `several`: eight keys with values, then these keys in another
order. `copy`: a mark and eight symbols among noise, then the mark and the symbols again. `count`: symbols of two sorts among
noise, then which are more. All prompts have `length` tokens and ANSWERS follow. Nawrot et al. 2025 ask what of such tasks is left where
attention is made sparse after training.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ._base import SKIP, Batch, Options, Task, distinct, draw, tokens

KINDS = ("needle", "several", "copy", "count")
ANSWERS, KEYS, VALUES, NOISE = 8, 16, 8, 4
VALUE = KEYS
NOISY = VALUE + VALUES
MARK = NOISY + NOISE  # of copies
SORT = MARK + 1  # two of them
ASK = SORT + 2
NOTHING = ASK + 1
VOCAB = NOTHING + 1


class Prompts(Task):
    class Config(Options):
        length: int = Field(56, ge=24, description="tokens of a prompt")
        kind: str | None = Field(None, pattern="^(needle|several|copy|count)$", description="of the test; null: all")

    later = frozenset({"kind"})

    def ends(self):
        return tokens(VOCAB)

    def batch(self, rng, size):
        return self._mix(rng, size, KINDS)

    def test(self, rng, size):
        return self._mix(rng, size, (self.config.kind,) if self.config.kind else KINDS)

    def _mix(self, rng: torch.Generator, size: int, kinds: tuple[str, ...]) -> Batch:
        made = [getattr(self, f"_{kind}")(rng, len(rows)) for kind, rows in zip(kinds, self._cut(size, len(kinds)))]
        x, y = (torch.cat(side) for side in zip(*made, strict=True))
        return Batch(x, y=torch.cat([torch.full_like(x[:, : self.config.length], SKIP), y], 1))

    def _cut(self, size: int, kinds: int) -> list[range]:
        return [range(i * size // kinds, (i + 1) * size // kinds) for i in range(kinds)]

    def _noise(self, rng: torch.Generator, size: int) -> Tensor:
        return draw(rng, NOISY, MARK, size, self.config.length)

    def _needle(self, rng: torch.Generator, size: int) -> tuple[Tensor, Tensor]:
        return self._pairs(rng, size, 1)

    def _several(self, rng: torch.Generator, size: int) -> tuple[Tensor, Tensor]:
        return self._pairs(rng, size, ANSWERS)

    def _pairs(self, rng: torch.Generator, size: int, count: int) -> tuple[Tensor, Tensor]:
        """Keys and values side by side at even places."""
        x = self._noise(rng, size)
        keys, values = distinct(rng, size, KEYS, count), draw(rng, VALUE, NOISY, size, count)
        at = 2 * distinct(rng, size, self.config.length // 2, count)
        x = x.scatter(1, at, keys).scatter(1, at + 1, values)
        order = distinct(rng, size, count, count)
        return self._ask(x, keys.gather(1, order), values.gather(1, order))

    def _copy(self, rng: torch.Generator, size: int) -> tuple[Tensor, Tensor]:
        x, word = self._noise(rng, size), draw(rng, VALUE, NOISY, size, ANSWERS)
        start = draw(rng, 0, self.config.length - ANSWERS, size, 1)
        mark = torch.full((size, 1), MARK)
        x = x.scatter(1, start + torch.arange(ANSWERS + 1), torch.cat([mark, word], 1))
        return self._ask(x, torch.cat([mark, word[:, :-1]], 1), word)

    def _count(self, rng: torch.Generator, size: int) -> tuple[Tensor, Tensor]:
        """So many more of one sort that a share of the prompt chosen at random would still tell."""
        total = self.config.length // 2
        more = draw(rng, 0, 2, size, 1)
        ahead = total // 2 + draw(rng, 2, total // 4 + 1, size, 1)
        sort = torch.where(torch.arange(total) < ahead, more, 1 - more)
        x = self._noise(rng, size).scatter(1, distinct(rng, size, self.config.length, total), SORT + sort)
        return self._ask(x, torch.full((size, 1), ASK), SORT + more)

    def _ask(self, x: Tensor, asked: Tensor, answer: Tensor) -> tuple[Tensor, Tensor]:
        rest = (len(x), ANSWERS - asked.shape[1])
        read = torch.cat([x, asked, torch.full(rest, NOTHING)], 1)
        return read, torch.cat([answer, torch.full(rest, SKIP)], 1)
