"""Few tokens from any number: learned queries gather what resembles them."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Reducer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..ops.attend import merge_heads, split_heads
from ..ops.hopfield import associate
from ..ops.landmarks import weights


class HopfieldPool(Reducer):
    """o(softmax(beta xi k') v): (B, T, D) -> (N, queries, D'), one row per sequence, k and v of norm(x).

    xi are learned queries after `steps` - 1 updates xi <- softmax(beta xi k') k. With one query, a head that takes the
    mean pools by attention. Ramsauer et al. 2020, HopfieldPooling; Ilse et al. 2018 (attention over instances).
    """

    paper = "Ramsauer et al. 2020, Hopfield networks is all you need"
    examples = ({"heads": 2}, {"heads": 4, "queries": 3, "steps": 2, "beta": 0.8, "norm": "rms", "bias": True})

    class Config(Base):
        heads: int = Field(4, gt=0)
        queries: int = Field(1, gt=0, description="tokens that are left of a sequence")
        beta: float | None = Field(None, gt=0, description="default: 1 / sqrt(width / heads)")
        steps: int = Field(1, gt=0, description="looks at the tokens, the last one at their values")
        norm: Annotated[Base, Slot("norms")] = Field("layer", validate_default=True)
        bias: bool = False

    def __init__(self, c: Config, width: int, after: int) -> None:
        super().__init__()
        size = head_width(self, width, c.heads)
        self.heads, self.steps, self.beta = c.heads, c.steps, size**-0.5 if c.beta is None else c.beta
        self.queries = nn.Parameter(torch.randn(c.heads, c.queries, size))
        self.norm = c.norm.build(width)
        self.k, self.v, self.o = (
            linear(width, width, c.bias),
            linear(width, width, c.bias),
            linear(width, after, c.bias),
        )

    def forward(self, x: Tensor, at: Layout) -> tuple[Tensor, Layout]:
        x = self.norm(at.clean(x), at)
        k, v = (split_heads(at.to_rows(m(x)), self.heads) for m in (self.k, self.v))  # (N, H, L, E)
        real = None if at.full else at.rows[1][:, None, None]

        def read(xi: Tensor, what: Tensor) -> Tensor:
            return weights(self.beta * xi @ k.mT, real) @ what

        y = merge_heads(associate(read, self.queries, k, v, self.steps))
        return self.o(y), Layout.dense(y.shape[0], y.shape[1], device=x.device)
