"""Bi-level routing attention: each region of queries looks at the few regions of keys that fit it best."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.block_attention import block_attention, top_of_each
from ..ops.conv import depthwise
from ..ops.regions import Regions, cut


class BiFormer(Mixer):
    """o(softmax(q k' / sqrt(E)) v over the keys of `top` regions + conv(v)). Zhu et al. 2023.

    The regions that a region sees are those whose mean keys have the largest products with its mean query, over the
    channels of all heads. A lattice of two axes is cut into squares of `size` x `size` cells, a sequence into pieces of
    `size` tokens; without `size` regions hold about sqrt(n) of n tokens, and cost grows as n^1.5, with it as n^2 in the
    end, by the products of regions. `conv` is a convolution of every channel over `conv` x `conv` cells; a sequence
    is a lattice of one row. The choice has no gradient. With `drawn` regions are seen at random, the same in every
    call, instead of by their fit.
    """

    paper = "Zhu et al. 2023, BiFormer: vision transformer with bi-level routing attention"
    growth = "n^1.5"
    examples = (
        {"heads": 2, "top": 2},
        {"heads": 4, "top": 3, "size": 1, "conv": 3, "bias": True},
        {"heads": 2, "top": 2, "drawn": 1},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        top: int = Field(4, gt=0, description="regions that a region looks at")
        size: int | None = Field(None, gt=0, description="of a region along each axis; default: from the length")
        conv: int | None = Field(None, gt=0, description="odd: cells along each axis; default: no convolution")
        drawn: int | None = Field(None, ge=0, description="seed of regions at random; default: those that fit best")
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        head_width(self, width, c.heads)
        if c.conv is not None and c.conv % 2 == 0:
            raise InputError(f"bi_former: conv must be odd, so that a cell is in its middle; got {c.conv}")
        self.heads, self.top, self.size, self.conv, self.drawn = c.heads, c.top, c.size, c.conv, c.drawn
        self.growth = "n^1.5" if c.size is None else "n^2"
        self.q, self.k, self.v, self.o = (linear(width, width, c.bias) for _ in range(4))
        self.kernel = nn.Parameter(torch.randn(width, c.conv, c.conv) / c.conv) if c.conv else None

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        q, k, v = self.q(x), self.k(x), self.v(x)
        pieces, seen = cut(at, self.size, square=True), []
        for part in pieces.parts:
            a, b, c = (part.take(z, self.heads) for z in (q, k, v))
            pairs = top_of_each(self._fit(a, b, part)[:, None], part.filled, self.top)
            asks, looks = (z.expand(-1, self.heads, -1) for z in pairs)
            seen.append(block_attention(a, b, c, part.real[:, None], asks, looks, None))
        y = pieces.give(seen, at)
        return self.o(y if self.kernel is None else y + self._near(v, self.kernel, at))

    def _fit(self, q: Tensor, k: Tensor, part: Regions) -> Tensor:
        """(N, R, R): how well regions of keys fit those of queries."""
        if self.drawn is not None:
            many, rng = q.shape[2], torch.Generator()
            # Row by row, so that a longer sequence in the batch changes no number.
            rows = [torch.rand(many, generator=rng.manual_seed(2**20 * self.drawn + i)) for i in range(many)]
            return torch.stack(rows).to(q.device).expand(len(q), many, many)
        q, k = (part.mean(z).transpose(1, 2).flatten(2) for z in (q, k))
        return q @ k.mT

    def _near(self, v: Tensor, kernel: Tensor, at: Layout) -> Tensor:
        assert self.conv is not None
        if at.grid is None or len(at.grid) != 2:
            return depthwise(v, kernel[:, self.conv // 2], None, at, self.conv // 2)
        cells = v.unflatten(1, at.grid).movedim(-1, 1)
        y = F.conv2d(cells, kernel[:, None], padding=self.conv // 2, groups=len(kernel))
        return y.movedim(1, -1).flatten(1, 2)
