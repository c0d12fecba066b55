"""Byte language model on real text, left to right or with masked bytes; bits per byte, lower is better.

`source` docs (the interpreter's help topics) or code (its standard library). The ends of the documents
are the test. With `test` longer than `length`, only positions beyond `length` count: reading further than
trained is what is asked.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch.nn import functional as F

from ._base import SKIP, Batch, Options, Task
from ._text import MASK, VOCAB, streams, windows


class Text(Task):
    class Config(Options):
        source: str = Field("docs", pattern="^(docs|code)$")
        length: int = Field(128, gt=1)
        test: int | None = Field(None, gt=1)
        form: str = Field("causal", pattern="^(causal|masked)$")
        mask: float = Field(0.15, gt=0, lt=1, description="share of bytes that are asked, in the masked form")

    lower_is_better = True
    resolution = 0.0

    def ends(self):
        causal = self.config.form == "causal"
        return {"causal": causal, "embed": {"use": "tokens", "vocab": VOCAB}, "head": {"use": "tag", "classes": VOCAB}}

    @property
    def tests(self) -> int:
        """Windows in a test: about 32,000 bytes."""
        return max(16, 32_768 // (self.config.test or self.config.length))

    def batch(self, rng, size):
        return self._ask(windows(streams(self.config.source)[0], rng, size, self.config.length + 1), rng, 0)

    def test(self, rng, size):
        length = self.config.test or self.config.length
        late = self.config.length if length > self.config.length else 0
        return self._ask(windows(streams(self.config.source)[1], rng, size, length + 1), rng, late)

    def score(self, out, batch):
        nats = F.cross_entropy(out.flatten(0, -2).float(), batch.target.flatten(), ignore_index=SKIP, reduction="sum")
        return float(nats) / math.log(2), float((batch.target != SKIP).sum())

    def _ask(self, text: torch.Tensor, rng: torch.Generator, late: int) -> Batch:
        """Targets before position `late` are not asked."""
        x, target = text[:, :-1], text[:, 1:].clone()
        if self.config.form == "masked":
            x, target = mask(x, self.config.mask, rng)
        target[:, :late] = SKIP
        return Batch(x, target)


def mask(x: torch.Tensor, share: float, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Devlin et al. 2019: of the chosen tokens 80% are masked, 10% replaced, 10% kept; all are asked."""
    chosen = torch.rand(x.shape, generator=rng) < share
    chosen[:, 0] |= ~chosen.any(1)
    fate = torch.rand(x.shape, generator=rng)
    seen = torch.where(chosen & (fate < 0.8), MASK, x)
    seen = torch.where(chosen & (fate > 0.9), torch.randint(0, 256, x.shape, generator=rng), seen)
    return seen, torch.where(chosen, x, SKIP)
