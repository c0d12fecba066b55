"""Multi-query associative recall: k1 v1 k2 v2 ... then the keys again in another order; answer each with its value.

Arora et al. 2023, Zoology. Keys and values are halves of the vocabulary; keys of a sequence differ.
"""

from __future__ import annotations

import torch
from pydantic import Field

from ._base import SKIP, Batch, distinct, draw
from ._recall import Pairs


class Recall(Pairs):
    class Config(Pairs.Config):
        vocab: int = Field(64, ge=4)
        pairs: int = Field(8, gt=0)

    def _make(self, rng: torch.Generator, size: int, pairs: int) -> Batch:
        half = self.config.vocab // 2
        keys = distinct(rng, size, half, min(pairs, half))  # (B, P)
        values = draw(rng, half, self.config.vocab, size, keys.shape[1])
        order = distinct(rng, size, keys.shape[1], keys.shape[1])
        told = torch.stack([keys, values], -1).flatten(1)  # (B, 2P)
        x = torch.cat([told, keys.gather(1, order)], 1)
        target = torch.cat([torch.full_like(told, SKIP), values.gather(1, order)], 1)
        return Batch(x, y=target)
