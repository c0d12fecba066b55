"""Attention between channels: what is compared are the channels of a head, over all tokens of the sequence."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout, exporting
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads

PIECE = 4096  # tokens that stay in a CPU's cache: products of columns of 65536 take three times as long a token


class CrossCovariance(Mixer):
    """o(y), y_t = softmax(tau q~' k~) v_t, an E x E matrix for each head and sequence. El-Nouby et al. 2021, XCiT.

    q~ and k~ (T, E) have columns of length 1, so that the matrix holds cosines; tau is learned for each head. A query's
    channel becomes a mean of the value's channels. Cost n E.
    """

    paper = "El-Nouby et al. 2021, XCiT: cross-covariance image transformers"
    examples = ({"heads": 2}, {"heads": 4, "bias": True})

    class Config(Base):
        heads: int = Field(4, gt=0)
        bias: bool = False

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        head_width(self, width, c.heads)
        self.heads = c.heads
        self.q, self.k, self.v, self.o = (linear(width, width, c.bias) for _ in range(4))
        self.tau = nn.Parameter(torch.ones(c.heads))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        q, k, v = (split_heads(at.to_rows(f(x)), self.heads) for f in (self.q, self.k, self.v))  # (N, H, L, E)
        weight = (_alike(q, k) * self.tau[:, None, None]).softmax(-1).to(v.dtype)
        return self.o(at.from_rows(merge_heads(v @ weight.mT)))


def _alike(q: Tensor, k: Tensor) -> Tensor:
    """Cosines of the columns of q and k (N, H, L, E) -> (N, H, E, E), a piece of the tokens after the other.

    The products are divided by the columns' lengths: the tokens are not written a second time, but in float16, whose
    largest number is smaller than the product of long columns.
    """
    pieces = [(q, k)] if exporting() else list(zip(q.split(PIECE, 2), k.split(PIECE, 2), strict=True))
    wide = torch.promote_types(q.dtype, torch.float32)
    lengths = [
        torch.linalg.vector_norm(torch.stack([_lengths(x) for x in of]), dim=0) for of in zip(*pieces, strict=True)
    ]
    one, other = (x.clamp_min(1e-12) for x in lengths)
    if q.dtype == torch.float16:
        pieces = [(_divided(a, one), _divided(b, other)) for a, b in pieces]
    products = torch.stack([(a.mT @ b).to(wide) for a, b in pieces]).sum(0)
    return products if q.dtype == torch.float16 else products / one[..., None] / other[..., None, :]


def _divided(x: Tensor, lengths: Tensor) -> Tensor:
    """Columns of x (N, H, L, E) over what may be too long for their own type."""
    return (x.to(lengths.dtype) / lengths[..., None, :]).to(x.dtype)


def _lengths(x: Tensor) -> Tensor:
    """Of columns, (N, H, L, E) -> (N, H, E)."""
    return torch.linalg.vector_norm(x, dim=2, dtype=torch.promote_types(x.dtype, torch.float32))
