"""Byte language model on real text, left to right or with masked bytes; bits per byte, lower is better.

`source` docs (the interpreter's help topics) or code (its standard library). The ends of the documents
are the test. With `test` longer than `length`, only positions beyond `length` count: reading further than
trained is what is asked.
"""

from __future__ import annotations

from pydantic import Field

from ._base import SKIP, Batch, Options, Task, bits
from ._text import MASK, VOCAB, streams, windows


class Text(Task):
    class Config(Options):
        source: str = Field("docs", pattern="^(docs|code)$")
        length: int = Field(128, gt=1)
        test: int | None = Field(None, gt=1)
        form: str = Field("causal", pattern="^(causal|masked)$")
        rate: float = Field(0.15, gt=0, lt=1, description="share of bytes that are asked, in the masked form")
        agree: float | None = Field(None, ge=0, description="train in two passes, with this weight of their agreement")

    lower_is_better = True
    resolution = 0.0

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        length = config.test or config.length
        self.tests = max(16, 32_768 // length)  # about 32,000 bytes
        self.late = config.length if length > config.length else 0

    def ends(self):
        causal = self.config.form == "causal"
        return {"causal": causal, "embed": {"use": "tokens", "vocab": VOCAB}, "head": {"use": "tag", "classes": VOCAB}}

    def objective(self):
        goal = {"use": "masked_lm", "vocab": VOCAB, "mask": MASK, "rate": self.config.rate}
        if self.config.form == "causal":
            goal = {"use": "causal_lm"}
        return goal if self.config.agree is None else {"use": "consistency", "of": goal, "alpha": self.config.agree}

    def batch(self, rng, size):
        return Batch(windows(streams(self.config.source)[0], rng, size, self.config.length))

    def test(self, rng, size):
        return Batch(windows(streams(self.config.source)[1], rng, size, self.config.test or self.config.length))

    def score(self, out, target):
        target = target.clone()
        target[:, : self.late] = SKIP
        return bits(out, target)
