"""Memorisation: a key, then a blank; answer the value that belongs to the key. The same dictionary in every sequence.

Poli et al. 2024, MAD. Nothing in the sequence tells the values: they must be learned into the weights. Each value belongs
to as many keys as any other; `dictionary` is the seed of which.
"""

from __future__ import annotations

import torch
from pydantic import Field

from ._base import SKIP, Batch, Options, Task, draw, tokens


class Memorise(Task):
    class Config(Options):
        keys: int = Field(128, gt=1)
        values: int = Field(16, gt=1)
        pairs: int = Field(16, gt=0, description="keys in a sequence")
        dictionary: int = Field(0, ge=0)

    def ends(self):
        return tokens(self.config.keys + 1, self.config.values)

    def batch(self, rng, size):
        c = self.config
        book = torch.randperm(c.keys, generator=torch.Generator().manual_seed(c.dictionary)) % c.values
        keys = draw(rng, 0, c.keys, size, c.pairs)
        x = torch.stack([keys, torch.full_like(keys, c.keys)], -1).flatten(1)
        y = torch.stack([torch.full_like(keys, SKIP), book[keys]], -1).flatten(1)
        return Batch(x, y=y)
