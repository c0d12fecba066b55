"""Spectral features whose frequencies are rows of a structured random matrix with learned diagonals."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import Feature
from ..core.part import Config as Base
from ..ops.spectral import FORMS, Form, hadamard


class Fastfood(Feature):
    """f(W, x~), W = S H G P H B / sqrt(n) in blocks of n frequencies, x~ = x E^(-1/4), f as in `random`.

    H is the Hadamard matrix of n = E up to a power of 2, P a permutation, and S, G, B diagonals, learned for each head
    and block: 3 n numbers instead of n^2. They start at S = chi_n / |G|, G ~ N(0, I), B = +-1, where W is close to n
    rows of N(0, I). Le et al. 2013; learned by Chowdhury et al. 2021.
    """

    paper = "Chowdhury et al. 2021, On learning the Transformer kernel"
    examples = ({}, {"blocks": 2, "form": "waves"})
    order: Tensor  # (H, K, n) int64

    class Config(Base):
        blocks: int = Field(1, gt=0, description="K: there are K n frequencies")
        form: Form = "positive"

    def __init__(self, c: Config, heads: int, size: int) -> None:
        n = 1 << (size - 1).bit_length()
        super().__init__(c, heads, c.blocks * n * (2 if c.form == "waves" else 1))
        self.form, self.scale, self.signed = FORMS[c.form], size**-0.25, c.form == "waves"
        shape = (heads, c.blocks, n)
        self.b = nn.Parameter(1.0 - 2.0 * torch.randint(0, 2, shape))
        self.g = nn.Parameter(torch.randn(shape))
        self.s = nn.Parameter(torch.randn(*shape, n).norm(dim=-1) / self.g.detach().norm(dim=-1, keepdim=True))
        self.register_buffer("order", torch.rand(shape).argsort(-1))

    def frequencies(self, size: int) -> Tensor:
        """W (H, K n, size), from its columns: W of the unit vectors. It costs size n log n once, not for every token."""
        n = self.b.shape[-1]
        x = F.pad(torch.eye(size, dtype=self.b.dtype, device=self.b.device), (0, n - size))[:, None, None]
        x = hadamard(x * self.b).gather(-1, self.order.expand(size, *self.order.shape))
        return (hadamard(x * self.g) * self.s * n**-0.5).flatten(2).permute(1, 2, 0)

    def map(self, x: Tensor) -> Tensor:
        return self.form(x * self.scale, self.frequencies(x.shape[-1]))
