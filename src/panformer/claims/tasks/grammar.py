"""A language with word classes and dialects: learn it from plain sentences, then answer from few labels.

Words belong to hidden classes, equally many each. In dialect k the class goes up by k from word to word
(modulo the number of classes), but for a share `noise` of stray words of any class. Words of a class are
interchangeable, so classes can be learned from plain sentences, and only poorly from a few labels.
`dialect` asks for k, once a sentence; `strays` asks of each word whether it is stray, which both sides tell.
`examples` limits training to so many fixed sentences.
"""

from __future__ import annotations

from functools import cache

import torch
from pydantic import Field
from torch import Tensor

from ._base import Batch, Options, Task, draw


class Grammar(Task):
    class Config(Options):
        form: str = Field("dialect", pattern="^(dialect|strays|masked|causal)$")
        words: int = Field(120, gt=0)
        classes: int = Field(6, gt=1, description="of words; there are as many dialects")
        length: int = Field(20, gt=2)
        noise: float = Field(0.2, ge=0, lt=1)
        examples: int | None = Field(None, gt=0)

    def ends(self):
        c = self.config
        embed = {"use": "tokens", "vocab": c.words + 1}
        if c.form == "dialect":
            return {"embed": embed, "head": {"use": "classify", "classes": c.classes}}
        if c.form == "strays":
            return {"embed": embed, "head": {"use": "tag", "classes": 2}}
        return {"embed": embed, "causal": c.form == "causal", "head": {"use": "tag", "classes": c.words + 1}}

    def objective(self):
        if self.config.form == "masked":
            return {"use": "masked_lm", "vocab": self.config.words + 1, "mask": self.config.words}
        return "causal_lm" if self.config.form == "causal" else "classify"

    def batch(self, rng, size):
        if self.config.examples is None:
            return self.test(rng, size)
        pool = self.test(torch.Generator().manual_seed(rng.initial_seed()), self.config.examples)
        chosen = draw(rng, 0, self.config.examples, size)
        return Batch(pool.x[chosen], y=None if pool.y is None else pool.y[chosen])

    def test(self, rng, size):
        c = self.config
        dialect = draw(rng, 0, c.classes, size)
        first = draw(rng, 0, c.classes, size, 1)
        kind = (first + dialect[:, None] * torch.arange(c.length)) % c.classes  # (B, T)
        stray = torch.rand(size, c.length, generator=rng) < c.noise
        shown = torch.where(stray, draw(rng, 0, c.classes, size, c.length), kind)
        members = _classes(c.words, c.classes)
        word = members[shown, draw(rng, 0, members.shape[1], size, c.length)]
        labels = {"dialect": dialect, "strays": (shown != kind).long()}
        return Batch(word, y=labels.get(c.form))


@cache
def _classes(words: int, classes: int) -> Tensor:
    """(classes, words // classes): which words are in a class; the same in every run."""
    order = torch.randperm(words, generator=torch.Generator().manual_seed(0))
    return order[: words // classes * classes].view(classes, -1)
