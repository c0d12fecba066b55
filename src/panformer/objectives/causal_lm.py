"""Tell the next token."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..core.families import Objective
from ..core.layout import Layout
from ..core.part import Config as Base
from ._mean import IGNORE, cross_entropy


class CausalLm(Objective):
    """-log p(token t+1 | tokens up to t), mean over all tokens with a next one in the same sequence.

    Packed documents are never asked for the first token of the next. raw is (B, T) ids. Radford et al. 2018.
    """

    paper = "Radford et al. 2018, Improving language understanding by generative pre-training"

    class Config(Base):
        pass

    def __init__(self, c: Config) -> None:
        super().__init__()

    def corrupt(self, raw: Tensor, at: Layout, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        target = torch.full_like(raw, IGNORE)
        follows = (at.seg[:, 1:] == at.seg[:, :-1]) & at.valid[:, 1:]
        target[:, :-1] = torch.where(follows, raw[:, 1:], IGNORE)
        return raw, target

    def loss(self, out: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """out (B, T, vocab), target (B, T)."""
        return cross_entropy(out, target)
