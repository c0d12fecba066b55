"""Spectral features whose frequencies come from a learned mixture of Gaussians."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Feature
from ..core.part import Config as Base
from ..ops.spectral import FORMS, Form


class Mixture(Feature):
    """[sqrt(p_c) f(w_cm, x~)], w_cm = mu_c + s_c e_cm, x~ = x E^(-1/4): kernels learned by their spectrum.

    f is that of the fixed random features, positive or waves (see `random`); the weights p = softmax, the means mu and
    the scales s > 0 of the C components are learned for each head. The noise e_cm ~ N(0, I), M / C for each component,
    is drawn once and saved. At the start all are near N(0, I), so the kernel is near that of the softmax. Chowdhury et
    al. 2021.
    """

    paper = "Chowdhury et al. 2021, On learning the Transformer kernel"
    examples = ({}, {"count": 12, "components": 3, "form": "waves"})
    noise: Tensor  # (H, C, M / C, E)

    class Config(Base):
        count: int | None = Field(None, gt=0, description="frequencies M; default: the head width")
        components: int = Field(2, gt=0, description="Gaussians C, which divide M")
        form: Form = "positive"

    def __init__(self, c: Config, heads: int, size: int) -> None:
        count, parts = c.count or size, c.components
        if count % parts:
            raise InputError(f"mixture: {count} frequencies do not divide into {parts} components")
        super().__init__(c, heads, 2 * count if c.form == "waves" else count)
        self.form, self.scale, self.signed = FORMS[c.form], size**-0.25, c.form == "waves"
        self.share = nn.Parameter(torch.zeros(heads, parts))  # log p, up to a constant
        self.mean = nn.Parameter(0.1 * torch.randn(heads, parts, size))
        self.spread = nn.Parameter(torch.zeros(heads, parts, size))  # log s
        self.register_buffer("noise", torch.randn(heads, parts, count // parts, size))

    def map(self, x: Tensor) -> Tensor:
        w = self.mean[:, :, None] + self.spread.exp()[:, :, None] * self.noise
        phi = self.form(x[:, None] * self.scale, w.transpose(0, 1))  # (B, C, H, T, M / C): a component is a batch
        weight = self.share.softmax(-1).sqrt().mT[:, :, None, None]
        return (phi * weight).transpose(1, 2).transpose(2, 3).flatten(3)
