"""Are two pieces of text from one document? Bytes in: a piece, END, another piece; yes or no.

The form of document retrieval in the Long Range Arena (Tay et al. 2020) on text that ships with the interpreter, its
help topics (`docs`) or the files of its standard library (`code`): the published pairs of linked papers (AAN) cannot be
had, and its two encoders are one here that reads both pieces. Half of the pairs are two pieces of one document that do
not overlap, the others of two different documents. Every fifth document is for the test.

Short pieces of real text say little: a logistic regression on cosines of counts of bytes and of pairs of bytes is right
for 61 of 100 pairs at 64 bytes of `code`, for 71 at 256. Documents that are `drawn`, each with letters of its own and anew
for every pair, say more: a threshold on one cosine is right for 96 at 16 letters, for 98 at 32.
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
LETTERS, UNEVEN = 32, 3  # of drawn documents; the power of an exponential number that a letter's share goes as


class Retrieval(Task):
    class Config(Options):
        source: str = Field("code", pattern="^(docs|code|drawn)$")
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
        if self.config.source == "drawn":
            return _drawn(rng, size, self.config.length)
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


def _drawn(rng: torch.Generator, size: int, length: int) -> Batch:
    """Pieces of letters drawn one by one from the shares that they have in a document."""
    shares = torch.empty(size, 2, LETTERS).exponential_(generator=rng) ** UNEVEN
    same = draw(rng, 0, 2, size)
    shares[:, 1] = torch.where(same[:, None] == 1, shares[:, 0], shares[:, 1])
    one, two = shares.flatten(0, 1).multinomial(length, True, generator=rng).view(size, 2, length).unbind(1)
    return Batch(torch.cat([one, torch.full((size, 1), END), two], 1), y=same)


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
