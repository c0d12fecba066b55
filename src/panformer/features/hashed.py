"""Learned binary codes from a kernel with a few support samples."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Feature
from ..core.part import Config as Base
from ._codes import lifted, signs


class Hashed(Feature):
    """q^ . k^ + c, x^ = sign(sum_r a_r (kappa(x, x_r) - mu_r)) in {+1, -1}^b, c = 2^ceil(log2(b + 1)). Liu et al. 2022.

    kappa(x, y) = exp(-|x - y|^2 / (2 s)); b - 2 q^ . k^ counts bits that differ, and c keeps weights above 0. Queries
    and keys share the support samples x_r and the learned a (H, m, b). `settle` takes x_r, mu and s from real queries
    and keys; until then they are of random ones. In training a sign has the slope of a clamp (straight through), else
    none.
    """

    paper = "Liu et al. 2022, EcoFormer: energy-saving attention with linear complexity"
    examples = ({"bits": 6, "samples": 9},)
    support: Tensor  # (H, m, E)
    mean: Tensor  # (H, m)
    width: Tensor  # (H,)

    class Config(Base):
        bits: int = Field(16, gt=0, description="bits b of a code")
        samples: int = Field(24, gt=1, description="support samples m of each head")

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__(c, heads, c.bits + 1)
        self.a = nn.Parameter(torch.randn(heads, c.samples, c.bits))
        support = torch.randn(heads, c.samples, size)
        for name, shape in (("support", support.shape), ("mean", support.shape[:2]), ("width", support.shape[:1])):
            self.register_buffer(name, torch.zeros(shape))
        self.settle(support, support)

    @torch.no_grad()
    def settle(self, support: Tensor, x: Tensor) -> None:
        """Take the support samples (H, m, E), and the kernel's width and mean from queries or keys x (H, N, E)."""
        self.support.copy_(support)
        self.width.copy_(torch.cdist(x, self.support).square().mean((1, 2)))
        self.mean.copy_(self.kernel(x[None])[0].mean(1))

    def kernel(self, x: Tensor) -> Tensor:
        """kappa(x, x_r): (B, H, T, E) -> (B, H, T, m)."""
        near = x.square().sum(-1, keepdim=True) + self.support.square().sum(-1)[:, None] - 2 * x @ self.support.mT
        return torch.exp(near / (-2 * self.width[:, None, None]))

    def project(self, x: Tensor) -> Tensor:
        """What the sign is taken of: (B, H, T, E) -> (B, H, T, b)."""
        return (self.kernel(x) - self.mean[:, None]) @ self.a

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return lifted(signs(self.project(q), self.training), signs(self.project(k), self.training))
