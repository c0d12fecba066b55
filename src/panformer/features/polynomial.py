"""All monomials up to a degree: the beginning of the exponential's series."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations_with_replacement

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Feature
from ..core.part import Config as Base


class Polynomial(Feature):
    """phi(q) . phi(k) = sum_{i <= p} (s q . k)^i / i!, with one learned s > 0 for each head.

    phi holds every monomial of degree p and less: (E + p choose p) channels. An even p keeps weights above 0. Behrouz et
    al. 2025 learn the p + 1 coefficients one by one, from 1 / i! on.
    """

    paper = "Behrouz et al. 2025, Atlas: learning to optimally memorize the context at test time"
    examples = ({}, {"degree": 1}, {"degree": 3})

    class Config(Base):
        degree: int = Field(2, ge=1, le=4)

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__(c, heads, math.comb(size + c.degree, c.degree))
        self.degree, self.signed = c.degree, c.degree % 2 == 1
        self.log_s = nn.Parameter(torch.zeros(heads))

    def map(self, x: Tensor) -> Tensor:
        x = x * (self.log_s / 2).exp()[:, None, None]
        terms = [torch.ones_like(x[..., :1]), x]
        for i in range(2, self.degree + 1):
            of = list(combinations_with_replacement(range(x.shape[-1]), i))
            times = [math.prod(math.factorial(n) for n in Counter(which).values()) for which in of]
            root = torch.tensor(times, dtype=torch.float64, device=x.device).rsqrt().to(x.dtype)
            terms.append(x[..., torch.tensor(of, device=x.device)].prod(-1) * root)
        return torch.cat(terms, -1)
