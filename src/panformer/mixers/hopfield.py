"""Hopfield association: attention whose queries are first moved towards the stored patterns they resemble."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.score import Same
from ..core.shared import Shared
from ..ops.attend import attend, merge_heads, split_heads
from ..ops.hopfield import associate


class Hopfield(Mixer):
    """o(softmax(beta xi k') v), where xi = q after `steps` - 1 updates xi <- softmax(beta xi k') k. Ramsauer et al. 2020.

    Each update lowers the energy of ops/hopfield.py, whose minima are means of all, of some, or single keys as beta
    grows. One step at beta = 1 / sqrt(E) is attention. Public code stops where updates have become small, which it
    asks of a whole batch; here their number is fixed, so that no sequence depends on another.
    """

    paper = "Ramsauer et al. 2020, Hopfield networks is all you need"
    growth = "n^2"
    examples = ({"heads": 2}, {"heads": 4, "steps": 3, "beta": 0.7, "bias": True})

    class Config(Base):
        heads: int = Field(4, gt=0)
        beta: float | None = Field(None, gt=0, description="default: 1 / sqrt(width / heads)")
        steps: int = Field(1, gt=0, description="looks at the stored patterns, the last one at the values")
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.heads, self.steps, size = c.heads, c.steps, head_width(self, width, c.heads)
        self.beta = size**-0.5 if c.beta is None else c.beta
        self.q, self.k, self.v, self.o = (linear(width, width, c.bias) for _ in range(4))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        q, k, v = (split_heads(m(x), self.heads) for m in (self.q, self.k, self.v))

        def read(xi: Tensor, what: Tensor) -> Tensor:
            return attend(xi, k, what, Same(), at, at, self.beta)

        return self.o(merge_heads(associate(read, q, k, v, self.steps)))
