"""A learned vector of length 1 per token id."""

from __future__ import annotations

import torch
from pydantic import Field
from torch.nn import functional as F

from ._lookup import Lookup, Options


class UnitTokens(Lookup):
    """table[id], every row of length 1 at the start and after every step of the optimiser. Loshchilov et al. 2024, nGPT."""

    paper = "Loshchilov et al. 2024, nGPT: normalized Transformer with representation learning on the hypersphere"
    examples = ({"vocab": 11}, {"vocab": 11, "size": 6, "scale": 2.0})

    class Config(Options):
        vocab: int = Field(gt=0, description="ids are 0 .. vocab-1")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c, width, c.vocab)
        self.after_step()

    @torch.no_grad()
    def after_step(self) -> None:
        self.table.weight.copy_(F.normalize(self.table.weight, dim=-1))
