"""Do two pieces of source text come from one standard package? Bytes of the first, a break, bytes of the second; two classes.

The form of the Long Range Arena's retrieval (Tay et al. 2020), whose papers of the ACL anthology do not come with any
package: there two whole documents are read, here a piece of each. The end of every file is the test.
"""

from __future__ import annotations

import torch
from pydantic import Field

from ._base import Batch, Options, Task
from ._text import END, PACKAGES, VOCAB, windows
from .sections import piece


class SameSource(Task):
    class Config(Options):
        classes: int = Field(6, ge=2, le=len(PACKAGES), description="packages there are")
        length: int = Field(128, gt=1, description="bytes of each piece")

    def ends(self):
        return {"embed": {"use": "tokens", "vocab": VOCAB}, "head": {"use": "classify", "classes": 2}}

    def batch(self, rng, size):
        return self._make(rng, size, 0)

    def test(self, rng, size):
        return self._make(rng, size, 1)

    def _make(self, rng: torch.Generator, size: int, side: int) -> Batch:
        c = self.config
        first, away, same = (torch.randint(0, n, (size,), generator=rng) for n in (c.classes, c.classes - 1, 2))
        second = torch.where(same == 1, first, (first + 1 + away) % c.classes)
        texts = [
            torch.cat([windows(piece(int(k))[side], rng, 1, c.length) for k in which]) for which in (first, second)
        ]
        return Batch(torch.cat([texts[0], torch.full((size, 1), END), texts[1]], 1), y=same)
