"""A small corpus read in windows of some length, and what was learned of it: of near and of far words.

Articles hold real text (bytes of the help topics), sentences and word forms. In a sentence the noun, after none or one other,
asks for a verb of its number: what agrees stands near. An article has one ending, which every stem in it takes (a : a' as
b : b'); two such forms stand NEAR to FAR tokens apart. Text is read; verbs and endings are asked. After Salhan et al. 2025,
who ask which length of window is best.
"""

from __future__ import annotations

from functools import cache

import torch
from pydantic import Field
from torch import Tensor

from ._base import SKIP, Batch, Options, Task, draw
from ._text import streams, windows

NOUNS, VERBS, STEMS, ENDINGS = 8, 4, 8, 4  # nouns and verbs in each number
NOUN = 256
VERB = NOUN + 2 * NOUNS
STEM = VERB + 2 * VERBS
ENDING = STEM + STEMS
STOP = ENDING + ENDINGS
VOCAB = STOP + 1
CORPUS = 100_000  # tokens
FORMS = 10  # of an article
NEAR, FAR = 18, 26


class Grammar(Task):
    class Config(Options):
        length: int = Field(64, gt=8, description="tokens of a window in training")
        ask: str = Field("agreement", pattern="^(agreement|analogy)$", description="what the test asks")

    later = frozenset({"ask"})

    def ends(self):
        return {"causal": True, "embed": {"use": "tokens", "vocab": VOCAB}, "head": {"use": "tag", "classes": VOCAB}}

    def batch(self, rng, size):
        x = windows(corpus(), rng, size, self.config.length + 1)
        asked = ((x >= VERB) & (x < STEM)) | ((x >= ENDING) & (x < STOP))
        return Batch(x[:, :-1], y=torch.where(asked, x, SKIP)[:, 1:])

    def test(self, rng, size):
        """Agreement: right where the verb of this number is the likelier. Analogy: where this ending is, of all."""
        if self.config.ask == "agreement":
            x, y = zip(*(_asked_verb(rng) for _ in range(size)), strict=True)
        else:
            x, y = zip(*(_asked_ending(rng) for _ in range(size)), strict=True)
        lengths = torch.tensor([len(row) for row in x])
        rows = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in x], batch_first=True)
        target = torch.full_like(rows, SKIP)
        target[torch.arange(size), lengths - 1] = torch.tensor(y)
        return Batch(rows, lengths, target)

    def score(self, out, target):
        asked = target != SKIP
        logits, right = out[asked], target[asked]
        if self.config.ask == "analogy":
            return float((logits[:, ENDING:STOP].argmax(-1) + ENDING == right).sum()), float(len(right))
        other = VERB + (right - VERB + VERBS) % (2 * VERBS)  # the same verb in the other number
        own, wrong = (logits.gather(1, t[:, None]) for t in (right, other))
        return float((own > wrong).sum()), float(len(right))


@cache
def corpus() -> Tensor:
    """Articles in one row of CORPUS tokens, the same for all seeds as a real corpus is."""
    rng = torch.Generator().manual_seed(70_000)
    out: list[int] = []
    while len(out) < CORPUS:
        ending = _one(rng, ENDINGS)
        for _ in range(FORMS):
            out += [STEM + _one(rng, STEMS), ENDING + ending, *_between(rng, NEAR + _one(rng, FAR - NEAR))]
    return torch.tensor(out[:CORPUS])


def _between(rng: torch.Generator, count: int) -> list[int]:
    """Text and sentences in turns, `count` tokens."""
    out: list[int] = []
    while len(out) < count:
        out += [*_text(rng, 2 + _one(rng, 6)), *_sentence(rng), STOP]
    return out[:count]


def _sentence(rng: torch.Generator) -> list[int]:
    """A noun, none or one other of any number, and a verb of the first one's number."""
    plural, others = _one(rng, 2), _one(rng, 2)
    nouns = [NOUN + plural * NOUNS + _one(rng, NOUNS), *(NOUN + _one(rng, 2 * NOUNS) for _ in range(others))]
    return [*nouns, VERB + plural * VERBS + _one(rng, VERBS)]


def _asked_verb(rng: torch.Generator) -> tuple[list[int], int]:
    *before, verb = _sentence(rng)
    return [*_text(rng, 4 + _one(rng, 12)), *before], verb


def _asked_ending(rng: torch.Generator) -> tuple[list[int], int]:
    ending = ENDING + _one(rng, ENDINGS)
    between = _between(rng, NEAR + _one(rng, FAR - NEAR))
    return [STEM + _one(rng, STEMS), ending, *between, STEM + _one(rng, STEMS)], ending


def _text(rng: torch.Generator, count: int) -> list[int]:
    found: list[int] = windows(streams("docs")[0], rng, 1, count)[0].tolist()
    return found


def _one(rng: torch.Generator, below: int) -> int:
    return int(draw(rng, 0, below, 1))
