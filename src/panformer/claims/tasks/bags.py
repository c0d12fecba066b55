"""Bags of handwritten digits: does the bag hold a certain digit? One label per bag, none per image.

Half of the bags hold exactly `witnesses` images of that digit, the others none. Bags of the test are made of images
that training never saw. Input values (B, size, 64).
"""

from __future__ import annotations

import torch
from pydantic import Field

from . import digits
from ._base import Batch, Options, Task


class Bags(Task):
    class Config(Options):
        size: int = Field(32, gt=1, description="images in a bag")
        digit: int = Field(9, ge=0, le=9)
        witnesses: int = Field(1, gt=0)

    def ends(self):
        return {"embed": {"use": "frames", "channels": 64}, "head": {"use": "classify", "classes": 2}}

    def batch(self, rng, size):
        return self._make(rng, size, False)

    def test(self, rng, size):
        return self._make(rng, size, True)

    def _make(self, rng: torch.Generator, count: int, test: bool) -> Batch:
        c = self.config
        pixels, labels = digits.side(test)
        wanted, others = ((labels == c.digit) == own for own in (True, False))
        label = torch.randint(0, 2, (count,), generator=rng)
        bag = _pick(others, (count, c.size), rng)
        found = _pick(wanted, (count, min(c.witnesses, c.size)), rng)
        place = torch.rand(count, c.size, generator=rng).argsort(-1)[:, : found.shape[1]]
        bag = torch.where(label[:, None] == 1, bag.scatter(1, place, found), bag)
        return Batch(pixels[bag].float() / 8 - 1, y=label)


def _pick(among: torch.Tensor, shape: tuple[int, int], rng: torch.Generator) -> torch.Tensor:
    """Indices of true elements, drawn with replacement."""
    index = among.nonzero()[:, 0]
    return index[torch.randint(0, len(index), shape, generator=rng)]
