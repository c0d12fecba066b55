"""LION: linear attention to both sides whose weights fall with the decays between two tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads
from ..ops.two_sided import two_sided


class Lion(Mixer):
    """o(sum_j L_ij f(q_i).f(k_j) v_j / sum_j L_ij f(q_i).f(k_j)), L_ij the product of the decays between i and j.

    From either end S_i = a_i S_{i-1} + f(k_i) v_i'. `decay` none: a = 1 (LION-Lit); fixed: one learned rate per head
    (LION-D); selective: a_i = sigmoid(w x_i + c) (LION-S). Afzal et al. 2025.
    """

    paper = "Afzal et al. 2025, Linear attention for efficient bidirectional sequence modeling"
    examples = (
        {"heads": 2, "decay": "selective"},
        {"heads": 4, "decay": "fixed", "feature": "elu"},
        {"heads": 2, "decay": "none"},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        decay: Literal["none", "fixed", "selective"] = "selective"
        feature: Annotated[Base, Slot("features")] = Field("shifted_silu", validate_default=True)

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.heads, self.size = c.heads, head_width(self, width, c.heads)
        self.feature = c.feature.build(c.heads, self.size)
        self.q, self.k, self.v, self.o = (linear(width, width, False) for _ in range(4))
        start = torch.linspace(1.0, 5.0, c.heads)  # before the sigmoid: from fast to slow
        self.rate = nn.Parameter(start) if c.decay == "fixed" else None
        self.a = linear(width, c.heads) if c.decay == "selective" else None
        if self.a is not None:
            with torch.no_grad():
                self.a.bias.copy_(start)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        mix, v = self.mixing(x, at)
        return self.o(merge_heads(mix(v)))

    def mixing(self, x: Tensor, at: Layout) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """(the map that is linear in values (B, H, T, V), with all that x says about it held; the values of x)."""
        x = at.clean(x)
        q, k, v = (split_heads(f(x), self.heads) for f in (self.q, self.k, self.v))
        (q, k), fall = self.feature(q, k), self._fall(x)

        def mix(v: Tensor) -> Tensor:
            y = two_sided(q, k, torch.cat([v, torch.ones_like(v[..., :1])], -1), fall, at)
            total = y[..., -1:]
            return y[..., :-1] / torch.where(total == 0, 1, total)

        return mix, v

    def _fall(self, x: Tensor) -> Tensor | None:
        """log a (B, H, T), in float32 or wider; None where nothing fades."""
        wide = torch.promote_types(x.dtype, torch.float32)
        if self.a is not None:
            return F.logsigmoid(self.a(x).to(wide)).mT
        return None if self.rate is None else F.logsigmoid(self.rate.to(wide))[:, None].expand(len(x), -1, x.shape[1])
