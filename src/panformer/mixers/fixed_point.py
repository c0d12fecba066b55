"""Attention that reads its own answer again, until the answer stops changing."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout, exporting
from ..core.part import Config as Base
from ..core.score import Same
from ..core.shared import Shared
from ..ops.attend import attend, merge_heads, split_heads


class FixedPoint(Mixer):
    """z_{k+1} = o(softmax(q(z_k) k(z_k)' / sqrt(E)) v(x)), z_0 = x, until |z_{k+1} - z_k| <= tolerance |z_{k+1}|.

    Norms are over one sequence, which stops by itself, after `steps` looks at the latest; the gradient is that of the
    looks it took. One look is attention. What a sequence ends with hangs on all of its tokens, so that there is no causal
    form. Unlike `hopfield`, whose stored patterns stay as they are, queries and keys both follow the answer.
    Mathur et al. 2025, SELF-Transformer.
    """

    paper = "Mathur et al. 2025, Change of thought: adaptive test-time computation"
    growth = "n^2"
    examples = (
        {"heads": 2, "steps": 3, "tolerance": 0.0},
        {"heads": 4, "steps": 12, "tolerance": 0.02, "bias": True},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        steps: int = Field(8, gt=0, description="looks at most")
        tolerance: float = Field(1e-3, ge=0, description="relative change that ends the looks")
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        head_width(self, width, c.heads)
        self.heads, self.steps, self.tolerance = c.heads, c.steps, c.tolerance
        self.q, self.k, self.v, self.o = (linear(width, width, c.bias) for _ in range(4))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        return self.solve(x, at)[0]

    def solve(self, x: Tensor, at: Layout) -> tuple[Tensor, Tensor]:
        """(the answer, how many looks each sequence took (N,))."""
        x = at.clean(x)
        z = self.look(x, x, at)
        live = torch.ones(at.sequences, dtype=torch.bool, device=x.device)
        looks = torch.ones(at.sequences, dtype=torch.int64, device=x.device)
        for _ in range(self.steps - 1):
            new = self.look(z, x, at)
            z, before = torch.where(live[at.ordinal.clamp_min(0)][..., None], new, z), z
            looks = looks + live
            live = live & self._moved(z.detach(), before.detach(), at)
            if not exporting() and not bool(live.any()):
                break
        return z, looks

    def look(self, z: Tensor, x: Tensor, at: Layout) -> Tensor:
        """One step: what the tokens x hold, weighed by how z looks at z."""
        q, k, v = (split_heads(m(y), self.heads) for m, y in ((self.q, z), (self.k, z), (self.v, x)))
        return self.o(merge_heads(attend(q, k, v, Same(), at, at, q.shape[-1] ** -0.5)))

    def _moved(self, new: Tensor, old: Tensor, at: Layout) -> Tensor:
        """(N,) bool: whether a sequence has not come to rest."""
        change, size = (at.to_rows(y.square().sum(-1)).sum(1) for y in (new - old, new))
        return change > self.tolerance**2 * size
