"""Two passes with other random choices must answer alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Objective
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ._mean import IGNORE, mean


class Consistency(Objective):
    """loss_1 + loss_2 + alpha / 2 (KL(p_1 || p_2) + KL(p_2 || p_1)), the KL as means over what is asked.

    p_i is the softmax of the answers of pass i over one batch; only random choices in training, such as experts or
    dropout, tell the passes apart. `of` is an objective that asks for classes. Zuo et al. 2022 (experts), Liang et
    al. 2021 (dropout). Also gives "agreement", the sum of the two KL.
    """

    paper = "Zuo et al. 2022, Taming sparsely activated transformer with stochastic experts"
    passes = 2
    examples = ({}, {"of": {"use": "classify", "smoothing": 0.1}, "alpha": 0.5})

    class Config(Base):
        of: Annotated[Base, Slot("objectives")] = Field("causal_lm", validate_default=True)
        alpha: float = Field(5.0, ge=0)

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.of: Objective = c.of.build()
        self.alpha = c.alpha
        if self.of.passes > 1:
            raise InputError(f"consistency: {self.of.use()} already reads every batch {self.of.passes} times")

    def corrupt(self, raw: Tensor, at: Layout, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.of.corrupt(raw, at, rng)

    def loss(self, out: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """out (2 B, ..., K), the passes one after the other; target (B, ...) int64."""
        if target.is_floating_point():
            raise InputError(f"consistency: {self.of.use()} asks for numbers, not for classes")
        if len(out) != 2 * len(target):
            raise InputError(f"consistency: {len(out)} answers do not fit two passes over {len(target)} targets")
        one, two = out.chunk(2)
        first, second = self.of.loss(one, target), self.of.loss(two, target)
        a, b = (x.to(torch.promote_types(x.dtype, torch.float32)).log_softmax(-1) for x in (one, two))
        # KL(p || q) + KL(q || p) = sum (p - q) (log p - log q)
        apart = mean(((a.exp() - b.exp()) * (a - b)).sum(-1).flatten(), target.flatten() != IGNORE)["loss"]
        total = first["loss"] + second["loss"] + self.alpha / 2 * apart
        return {**first, "loss": total, "agreement": apart}
