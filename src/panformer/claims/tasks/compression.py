"""Keep a whole sequence in one vector: random symbols and CUE; the vector at CUE must tell all of them.

Poli et al. 2024, Mechanistic design and scaling of hybrid architectures (MAD), compression. Chance is one over `vocab`.
"""

from __future__ import annotations

import torch
from pydantic import Field

from ._base import Batch, Options, Task, draw


class Compression(Task):
    class Config(Options):
        vocab: int = Field(15, ge=2, description="symbols, without CUE")
        length: int = Field(32, ge=2, description="tokens that are read, CUE included")

    def ends(self):
        c = self.config
        head = {"use": "recite", "classes": c.vocab, "length": c.length - 1, "hidden": 128, "activation": "gelu"}
        return {"causal": True, "embed": {"use": "tokens", "vocab": c.vocab + 1}, "head": head}

    def batch(self, rng, size):
        c = self.config
        symbols = draw(rng, 0, c.vocab, size, c.length - 1)
        return Batch(torch.cat([symbols, torch.full((size, 1), c.vocab)], 1), y=symbols)
