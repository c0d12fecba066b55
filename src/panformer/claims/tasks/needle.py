"""A document with a few facts in it and one question: tokens that say (subject, value) among noise; answer the value.

The question names a subject. It stands `first`, where a model that looks both ways may gather the answer, or `last`,
for causal models. Facts lie at random places at least `near` tokens away from it. `seen` cuts the far end off, in
training and in the test, as a model does that reads only so much.
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator

from ._base import SKIP, Batch, Options, Task, distinct, draw, tokens


class Needle(Task):
    class Config(Options):
        ask: str = Field("last", pattern="^(first|last)$")
        length: int = Field(128, ge=8)
        near: int = Field(1, gt=0, description="tokens between the question and the nearest fact, at least")
        seen: int | None = Field(None, gt=1, description="tokens of the document that are read; default: all")
        subjects: int = Field(4, gt=1)
        values: int = Field(8, gt=1)
        noise: int = Field(16, gt=0, description="kinds of other tokens")

        @model_validator(mode="after")
        def _fits(self):
            if self.length - self.near < self.subjects:
                raise ValueError("the facts do not fit the document")
            return self

    def ends(self):
        c = self.config
        return tokens(c.subjects * (1 + c.values) + c.noise, c.values, c.ask == "last")

    def batch(self, rng, size):
        c = self.config
        facts = c.subjects * (1 + c.values)
        away = draw(rng, facts, facts + c.noise, size, c.length)  # by distance from the question
        places = c.near + distinct(rng, size, c.length - c.near, c.subjects)
        values = draw(rng, 0, c.values, size, c.subjects)
        told = c.subjects + torch.arange(c.subjects) * c.values + values
        away.scatter_(1, places, told)
        away[:, 0] = draw(rng, 0, c.subjects, size)
        target = torch.full_like(away, SKIP)
        target[:, 0] = values.gather(1, away[:, :1])[:, 0]
        x, y = away[:, : c.seen], target[:, : c.seen]
        return Batch(x, y=y) if c.ask == "first" else Batch(x.flip(1), y=y.flip(1))
