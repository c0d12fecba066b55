"""Dilated attention: short segments in full, longer ones with every r-th token, mixed by what they weigh."""

from __future__ import annotations

from pydantic import Field, model_validator

from ..core.errors import InputError
from ..core.families import Pattern
from ..core.part import Config as Base
from ..core.sparse import Dilated as Segments
from ..core.sparse import Sparse


class Dilated(Pattern):
    """O = sum_b a_b O_b, a_b = s_b / sum s: branch b attends in segments of w_b tokens, to each r_b-th. Ding et al. 2023.

    O_b is the softmax attention of the branch and s_b the sum of its exponentials, so that the mixture is one softmax
    in which a pair counts as often as branches have it. Head h has the tokens h modulo r_b of a segment; a token that
    a branch leaves out weighs nothing there. Pairs: n sum_b w_b / r_b^2 for each head.
    """

    paper = "Ding et al. 2023, LongNet: scaling transformers to 1,000,000,000 tokens"
    examples = ({"segments": [4, 12], "rates": [1, 3]}, {"segments": [2, 4, 8], "rates": [1, 2, 4]})

    class Config(Base):
        segments: tuple[int, ...] = Field(min_length=1, description="w of every branch")
        rates: tuple[int, ...] = Field(min_length=1, description="r of every branch, which divides its w")

        @model_validator(mode="after")
        def _fit(self):
            if len(self.segments) != len(self.rates) or min(*self.segments, *self.rates) < 1:
                raise ValueError("segments and rates are as many, and positive")
            if any(w % r for w, r in zip(self.segments, self.rates, strict=True)):
                raise ValueError("every rate must divide its segment")
            return self

    def __init__(self, c: Config, heads: int) -> None:
        super().__init__(c, heads)
        pairs = tuple(zip(c.segments, c.rates, strict=True))
        if all(r > 1 for _, r in pairs):
            raise InputError("dilated: one rate must be 1, or some tokens would see nothing")
        self.score = Sparse(tuple(tuple(Segments(w, r, h % r) for w, r in pairs) for h in range(heads)), counted=True)
