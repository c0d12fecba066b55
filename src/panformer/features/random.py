"""Random features of the softmax kernel, drawn once."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ..core.families import Feature
from ..core.part import Config as Base
from ..ops.spectral import FORMS, Form, orthogonal


class Random(Feature):
    """exp(w . x~ - |x~|^2 / 2) / sqrt(M), x~ = x E^(-1/4): in the mean exp(q . k / sqrt(E)). Choromanski et al. 2021.

    `form: waves` takes [cos(w . x~), sin(w . x~)] / sqrt(M), in the mean exp(-|q~ - k~|^2 / 2); its weights may be
    below 0, as few frequencies do not cancel. The M frequencies w ~ N(0, I) are shared by all heads, at right angles in
    blocks of E (FAVOR+) unless drawn `independent`. They are never drawn again: they are part of what is saved.
    """

    paper = "Choromanski et al. 2021, Rethinking attention with Performers"
    examples = ({}, {"count": 7, "form": "waves"}, {"count": 12, "draw": "independent"})
    w: Tensor  # (M, E)

    class Config(Base):
        count: int | None = Field(None, gt=0, description="frequencies M; default: the head width")
        form: Form = "positive"
        draw: Literal["orthogonal", "independent"] = "orthogonal"

    def __init__(self, c: Config, heads: int, size: int) -> None:
        count = c.count or size
        super().__init__(c, heads, 2 * count if c.form == "waves" else count)
        self.form, self.scale, self.signed = FORMS[c.form], size**-0.25, c.form == "waves"
        self.register_buffer("w", orthogonal(count, size) if c.draw == "orthogonal" else torch.randn(count, size))

    def map(self, x: Tensor) -> Tensor:
        return self.form(x * self.scale, self.w)
