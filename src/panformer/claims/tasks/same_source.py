"""Do two pieces of source text come from one standard package? Bytes of the first, a break, bytes of the second; two classes.

The form of the Long Range Arena's retrieval (Tay et al. 2020), whose papers of the ACL anthology do not come with any
package: there two whole documents are read, here a piece of each. Every fifth file is for the test, so that no piece of it is
from a file that training reads.
"""

from __future__ import annotations

from functools import cache

import torch
from pydantic import Field
from torch import Tensor

from ._base import Batch, Options, Task
from ._text import END, PACKAGES, VOCAB, package, windows


class SameSource(Task):
    class Config(Options):
        classes: int = Field(6, ge=2, le=len(PACKAGES), description="packages there are")
        length: int = Field(128, gt=1, description="bytes of each piece")

    def ends(self):
        return {"embed": {"use": "tokens", "vocab": VOCAB}, "head": {"use": "classify", "classes": 2}}

    def batch(self, rng, size):
        return self._make(rng, size, False)

    def test(self, rng, size):
        return self._make(rng, size, True)

    def _make(self, rng: torch.Generator, size: int, test: bool) -> Batch:
        c = self.config
        first, away, same = (torch.randint(0, n, (size,), generator=rng) for n in (c.classes, c.classes - 1, 2))
        second = torch.where(same == 1, first, (first + 1 + away) % c.classes)
        texts = [
            torch.cat([windows(source(int(k), test), rng, 1, c.length) for k in which]) for which in (first, second)
        ]
        return Batch(torch.cat([texts[0], torch.full((size, 1), END), texts[1]], 1), y=same)


@cache
def source(label: int, test: bool) -> Tensor:
    """The files of a package that are for the test, or the others, one after the other."""
    files = [raw for i, raw in enumerate(package(PACKAGES[label])) if (i % 5 == 2) == test]
    return torch.frombuffer(bytearray(b"\n".join(files)), dtype=torch.uint8)
