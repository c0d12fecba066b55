"""Attention whose values are partly those of the first layer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..core.layout import Layout
from ..core.shared import Shared
from .attention import Attention, KeyValues


class ValueResidual(Attention):
    """Attention over values a v_1 + b v, v the layer's own and v_1 those of the layer that it reads `values` from.

    `mix: half` keeps a = b = 1/2, `learned` begins there. A layer that reads from none is plain attention and lends its
    values. Zhou et al. 2024, ResFormer.
    """

    paper = "Zhou et al. 2024, Value residual learning for alleviating attention concentration in Transformers"
    gives = takes = ("values",)
    undecayed = ("shares",)
    examples = ({"heads": 2, "causal": True}, {"heads": 4, "kv_heads": 2, "mix": "half", "position": "rope"})

    class Config(Attention.Config):
        mix: Literal["half", "learned"] = "learned"

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c, width)
        self.learned = c.mix == "learned"
        self.register_buffer("shares", None)
        self.shares: Tensor | None

    def borrow(self, name: str) -> None:
        half = torch.full((2,), 0.5)
        del self.shares
        if self.learned:
            self.shares = nn.Parameter(half)
        else:
            self.register_buffer("shares", half, persistent=False)

    def _maps(self, x: Tensor, at: Layout, shared: Shared | None) -> tuple[Tensor, KeyValues | None]:
        q, new = super()._maps(x, at, shared)
        assert new is not None
        if self.shares is not None:
            first = shared.take("values") if shared is not None else None
            assert first is not None, "values come from an earlier layer"
            new = new._replace(v=self.shares[0] * first + self.shares[1] * new.v)
        if shared is not None:
            shared.give("values", new.v)
        return q, new
