"""What tasks share that tell pairs of a key and a value and ask for values; keys and values are halves of the vocabulary."""

from __future__ import annotations

from pydantic import Field

from ._base import Options, Sized, tokens


class Pairs(Sized):
    size = "pairs"

    class Config(Options):
        vocab: int = Field(ge=4)
        pairs: int = Field(gt=0, description="keys with their values, in training")
        test: int | None = Field(None, description="pairs in the test, as in training by default")

    def ends(self):
        return tokens(self.config.vocab)
