"""Attention by the chance that a query and a key fall into the same hash bucket."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads
from ._values import along_values, value_kernel


class Yoso(Mixer):
    """o(u / |u| + conv(v)), u_i = sum_j (1 - angle(q_i, k_j) / pi)^bits v_j. Zeng et al. 2021, in expectation.

    That power is the chance that `bits` random hyperplanes put q_i and k_j on the same sides; what is sampled by
    hashing in linear time is here computed for all pairs. `conv` is the width of a convolution along the values
    with one kernel per head.
    """

    paper = "Zeng et al. 2021, You only sample (almost) once: linear cost self-attention via Bernoulli sampling"
    growth = "n^2"
    examples = ({"heads": 2}, {"heads": 4, "bits": 3, "bias": True, "conv": 3})

    class Config(Base):
        heads: int = Field(4, gt=0)
        bits: int = Field(9, gt=0, description="hyperplanes of one hash")
        conv: int | None = Field(None, gt=0, description="odd: values that a token adds; default: no convolution")
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        head_width(self, width, c.heads)
        self.heads, self.bits = c.heads, c.bits
        self.q, self.k, self.v, self.o = (linear(width, width, c.bias) for _ in range(4))
        self.kernel = value_kernel(c.heads, c.conv)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        v = self.v(x)
        q, k, rows = (split_heads(at.to_rows(y), self.heads) for y in (self.q(x), self.k(x), v))
        chance = self._chance(q, k)
        if not at.full:
            chance = chance * at.rows[1][:, None, None]
        y = at.from_rows(merge_heads(F.normalize(chance.to(v.dtype) @ rows, dim=-1)))
        return self.o(y if self.kernel is None else y + along_values(v, self.kernel, at))

    def _chance(self, q: Tensor, k: Tensor) -> Tensor:
        """(N, H, L, L) of a collision, in float32 or wider: the angle of near-parallel vectors needs the digits."""
        wide = torch.promote_types(q.dtype, torch.float32)
        q, k = F.normalize(q.to(wide), dim=-1), F.normalize(k.to(wide), dim=-1)
        most = 1 - torch.finfo(wide).eps  # rounding may leave the domain of the angle, where its slope is infinite
        return (1 - (q @ k.mT).clamp(-most, most).acos() / torch.pi) ** self.bits
