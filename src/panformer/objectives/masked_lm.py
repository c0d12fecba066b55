"""Fill in what was hidden."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Objective
from ..core.layout import Layout
from ..core.part import Config as Base
from ._mean import IGNORE, cross_entropy


class MaskedLm(Objective):
    """-log p(token | the rest), mean over chosen tokens: each with probability `rate`, alone.

    Of the chosen, `masked` (80 %) become the mask id, `swapped` (10 %) any id of the vocabulary, the others stay.
    Special ids and padding are never chosen. raw is (B, T) ids. Devlin et al. 2018.
    """

    paper = "Devlin et al. 2018, BERT"
    examples = ({"vocab": 11, "mask": 10}, {"vocab": 11, "mask": 10, "special": (0, 9), "rate": 0.5})

    class Config(Base):
        vocab: int = Field(gt=1)
        mask: int = Field(ge=0, description="the id that hides a token")
        special: tuple[int, ...] = ()  # ids that are never chosen
        rate: float = Field(0.15, gt=0, le=1)
        masked: float = Field(0.8, ge=0, le=1)
        swapped: float = Field(0.1, ge=0, le=1)

    def __init__(self, c: Config) -> None:
        super().__init__()
        if c.mask >= c.vocab:
            raise InputError(f"masked_lm: mask id {c.mask} is outside the vocabulary of {c.vocab}")
        if c.masked + c.swapped > 1 + 1e-9:
            raise InputError(f"masked_lm: masked {c.masked} and swapped {c.swapped} are more than all of the chosen")
        self.config = c

    def corrupt(self, raw: Tensor, at: Layout, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        c = self.config
        if raw.dim() != 2:
            raise InputError(f"masked_lm reads ids (B, T), got a tensor of shape {tuple(raw.shape)}")
        chance, lot = (torch.rand(raw.shape, generator=rng, device=rng.device).to(raw.device) for _ in range(2))
        other = torch.randint(c.vocab, raw.shape, generator=rng, device=rng.device).to(raw.device)
        fixed = torch.isin(raw, torch.tensor([c.mask, *c.special], device=raw.device)) | ~at.valid
        chosen = (chance < c.rate) & ~fixed
        shown = torch.where(chosen & (lot < c.masked), c.mask, raw)
        swapped = chosen & (lot >= c.masked) & (lot < c.masked + c.swapped)
        return torch.where(swapped, other, shown), torch.where(chosen, raw, IGNORE)

    def loss(self, out: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """out (B, T, vocab), target (B, T)."""
        return cross_entropy(out, target)
