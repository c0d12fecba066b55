"""PoNet: pooling at three scales - the whole sequence, segments of it, near neighbours."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.pool import max_near, max_segments
from ..ops.segment import mean, spread


class PoNet(Mixer):
    """P = g' * H_o + s * H_o + l with H_x = x W_x for x in q, k, v, o, s, l. Tan et al. 2021.

    g' is one softmax attention over H_k, H_v whose query is the mean of H_q; s the maximum of H_s over the
    token's segment; l the maximum of H_l over its near neighbours. Segments are `segment` tokens from the start
    of a sequence (the paper takes sentences or parts of the text). The authors' code reads H_k as the values
    too, so has no H_v; here it follows the paper. The output projection is that of the block around it there.
    """

    paper = "Tan et al. 2021, PoNet: pooling network for efficient token mixing in long sequences"
    examples = ({"heads": 2, "segment": 4}, {"heads": 4, "segment": 3, "local": 5, "bias": False})

    class Config(Base):
        heads: int = Field(4, gt=0)
        segment: int = Field(16, gt=0, description="tokens per segment")
        local: int = Field(3, gt=0, description="odd: tokens of the sliding window")
        bias: bool = True

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        head_width(self, width, c.heads)
        if c.local % 2 == 0:
            raise InputError(f"ponet: local must be odd, so that a window has a middle; got {c.local}")
        self.heads, self.segment, self.local = c.heads, c.segment, c.local
        self.q, self.k, self.v, self.h, self.s, self.l, self.o = (linear(width, width, c.bias) for _ in range(7))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        h, whole = self.h(x), spread(self._whole(x, at), at)
        segment = max_segments(self.s(x), at, self.segment)
        return self.o((whole + segment) * h + max_near(self.l(x), at, self.local))

    def _whole(self, x: Tensor, at: Layout) -> Tensor:
        """(N, D): every sequence summed up by one attention query."""
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)) for f in (self.q, self.k, self.v))  # (B, T, H, E)
        q = mean(q, at)  # (N, H, E)
        score = torch.einsum("nhe,nlhe->nlh", q, at.to_rows(k)) * q.shape[-1] ** -0.5
        if not at.full:
            score = score.masked_fill(~at.to_rows(at.valid)[..., None], -torch.inf)
        return torch.einsum("nlh,nlhe->nhe", score.softmax(1), at.to_rows(v)).flatten(1)
