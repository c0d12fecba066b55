"""Say where a token stands, or fetch the token that stands twice as far: what needs places, not distances alone.

`which`: one symbol, the same at every place, and the place is asked. `even`: random symbols, and place i of the first
half is asked for the symbol at place 2i + 1. Luo et al. 2022, Your transformer may not be as powerful as you expect.
"""

from __future__ import annotations

import torch
from pydantic import Field

from ._base import SKIP, Batch, Options, Task, draw, tokens


class Places(Task):
    class Config(Options):
        form: str = Field("which", pattern="^(which|even)$")
        vocab: int = Field(10, ge=2)
        length: int = Field(32, ge=4)

    tests = 256

    def ends(self):
        c = self.config
        return tokens(c.vocab, c.length if c.form == "which" else c.vocab, causal=False)

    def batch(self, rng, size):
        c = self.config
        if c.form == "which":
            x = draw(rng, 0, c.vocab, size, 1).expand(size, c.length)
            return Batch(x, y=torch.arange(c.length).expand(size, c.length))
        x = draw(rng, 0, c.vocab, size, c.length)
        y = torch.full_like(x, SKIP)
        half = c.length // 2
        y[:, :half] = x[:, 1 : 2 * half : 2]
        return Batch(x, y=y)
