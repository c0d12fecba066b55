"""Which standard package does this piece of source come from? Bytes in, one of the packages out.

The end of every file is the test. `examples` limits training to so many fixed pieces in all, for
questions about few labels.
"""

from __future__ import annotations

from functools import cache

import torch
from pydantic import Field
from torch import Tensor

from ._base import Batch, Options, Task
from ._text import PACKAGES, VOCAB, halves, package, windows


class Sections(Task):
    class Config(Options):
        classes: int = Field(6, ge=2, le=len(PACKAGES))
        length: int = Field(128, gt=1)
        examples: int | None = Field(None, gt=0)

    def ends(self):
        return {
            "embed": {"use": "tokens", "vocab": VOCAB},
            "head": {"use": "classify", "classes": self.config.classes},
        }

    def batch(self, rng, size):
        if self.config.examples is None:
            return self._make(rng, size, 0)
        pool = self._make(torch.Generator().manual_seed(rng.initial_seed()), self.config.examples, 0)
        chosen = torch.randint(0, self.config.examples, (size,), generator=rng)
        assert pool.y is not None
        return Batch(pool.x[chosen], y=pool.y[chosen])

    def test(self, rng, size):
        return self._make(rng, size, 1)

    def _make(self, rng: torch.Generator, size: int, side: int) -> Batch:
        label = torch.randint(0, self.config.classes, (size,), generator=rng)
        x = torch.cat([windows(piece(int(k))[side], rng, 1, self.config.length) for k in label])
        return Batch(x, y=label)


@cache
def piece(label: int) -> tuple[Tensor, Tensor]:
    """(training, test) source of a package."""
    sides = list(zip(*(halves(raw) for raw in package(PACKAGES[label])), strict=True))
    return torch.cat(sides[0]), torch.cat(sides[1])
