"""Associative recall: k1 v1 k2 v2 ... where keys come again and again; answer each key that was there with its value.

Fu et al. 2022, H3; Poli et al. 2023, Hyena. Keys and values are halves of the vocabulary. Which value belongs to a key
is drawn anew for every sequence. In the papers training predicts every token and the test the last value alone. With `noise` it is the noisy recall of MAD
(Poli et al. 2024).
"""

from __future__ import annotations

import torch
from pydantic import Field

from ._base import SKIP, Batch, draw, tokens
from ._recall import Pairs


class Recall(Pairs):
    class Config(Pairs.Config):
        vocab: int = Field(20, ge=4)
        pairs: int = Field(32, ge=2, description="keys with their values, in training")
        test: int | None = Field(None, ge=2, description="pairs in the test, as in training by default")
        noise: int = Field(0, ge=0, description="tokens without meaning before each pair, drawn from `vocab` others")

    def ends(self):
        return tokens(self.config.vocab * (2 if self.config.noise else 1), self.config.vocab)

    def _make(self, rng: torch.Generator, size: int, pairs: int) -> Batch:
        half = self.config.vocab // 2
        keys = draw(rng, 0, half, size, pairs)  # (B, P)
        values = draw(rng, half, self.config.vocab, size, half).gather(1, keys)
        seen = (keys[:, :, None] == keys[:, None]).tril(-1).any(-1)
        noise = draw(rng, self.config.vocab, 2 * self.config.vocab, size, pairs, self.config.noise)
        x = torch.cat([noise, keys[..., None], values[..., None]], -1).flatten(1)[:, :-1]
        target = torch.full_like(x, SKIP)
        target[:, self.config.noise :: self.config.noise + 2] = torch.where(seen, values, SKIP)
        return Batch(x, y=target)
