"""Are two pieces of text from one document? Bytes in: a piece, END, another piece; yes or no.

The form of document retrieval in the Long Range Arena (Tay et al. 2020) on text that ships with the interpreter, its
help topics (`docs`) or the files of its standard library (`code`): the published pairs of linked papers (AAN) cannot be
had, and its two encoders are one here that reads both pieces. Half of the pairs are two pieces of one document that do
not overlap, the others of two different documents. Every fifth document is for the test.
"""

from __future__ import annotations

from functools import cache

import torch
from pydantic import Field
from torch import Tensor

from ...core.errors import InputError
from ._base import Batch, Options, Task, draw
from ._text import END, VOCAB, documents

FEWEST = 8  # documents that a side must have


class Retrieval(Task):
    class Config(Options):
        source: str = Field("code", pattern="^(docs|code)$")
        length: int = Field(128, gt=0, description="bytes of a piece")

    def ends(self):
        return {
            "embed": {"use": "tokens", "vocab": VOCAB},
            "head": {"use": "classify", "classes": 2},
        }

    def batch(self, rng, size):
        return self._make(rng, size, False)

    def test(self, rng, size):
        return self._make(rng, size, True)

    def _make(self, rng: torch.Generator, size: int, test: bool) -> Batch:
        length = self.config.length
        texts = long_enough(self.config.source, length, test)
        same = draw(rng, 0, 2, size)
        rows = []
        for yes in same.tolist():
            i, other = torch.randperm(len(texts), generator=rng)[:2].tolist()
            one, two = _apart(len(texts[i]), length, rng)
            second = texts[i][two : two + length] if yes else _anywhere(texts[other], length, rng)
            rows.append(torch.cat([texts[i][one : one + length], torch.tensor([END]), second]))
        return Batch(torch.stack(rows), y=same)


@cache
def long_enough(source: str, length: int, test: bool) -> list[Tensor]:
    """Documents of the test or of training that hold two pieces, as bytes."""
    found = [raw for i, raw in enumerate(documents(source)) if (i % 5 == 0) == test and len(raw) >= 2 * length]
    if len(found) < FEWEST:
        raise InputError(f"retrieval: {len(found)} documents of {source} hold two pieces of {length} bytes; too few")
    return [torch.frombuffer(bytearray(raw), dtype=torch.uint8).long() for raw in found]


def _apart(total: int, length: int, rng: torch.Generator) -> tuple[int, int]:
    """Where two pieces begin that do not overlap, either first."""
    room = total - 2 * length
    low, high = sorted(draw(rng, 0, room + 1, 2).tolist())
    ends = (low, high + length)
    return ends if int(draw(rng, 0, 2, 1)) else ends[::-1]


def _anywhere(text: Tensor, length: int, rng: torch.Generator) -> Tensor:
    at = int(draw(rng, 0, len(text) - length + 1, 1))
    return text[at : at + length]
