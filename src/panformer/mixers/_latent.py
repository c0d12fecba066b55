"""What attention with latent keys and values shares: keys and values of all heads are maps of one small vector a token."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Mixer, Norm, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.score import Causal, Mask, Same
from ..ops.attend import attend, merge_heads, split_heads


class Latent(Mixer):
    """o(softmax((q k' + p r') / sqrt(E + R)) v), k = A c, v = B c for each head, c a latent of `kv_rank` numbers.

    r = turn(turned_k x), `turned_width` = R numbers, are one for all heads and are all that a rotation acts on; p is the
    query's part that meets them, q the other `head_width` = E numbers. q and p come from x or, with `q_rank`, from
    norm(down_q x). q' A c = (A' q)' c, so queries may meet the latents themselves, as in multi-query attention.
    """

    positions = frozenset({"rotate"})
    growth = "n^2"

    class Options(Base):
        heads: int = Field(4, gt=0)
        kv_rank: int | None = Field(None, gt=0, description="numbers of the latent; default: width / 4")
        q_rank: int | None = Field(None, gt=0, description="numbers between x and queries; null: none between")
        head_width: int | None = Field(None, gt=0, description="of the part that is not turned; default: width / heads")
        turned_width: int | None = Field(
            None, gt=0, description="of the turned part; default: half of head_width, even"
        )
        value_width: int | None = Field(None, gt=0, description="default: head_width")
        bias: bool = Field(False, description="of the maps that read x, and of the last")
        scale: float | None = Field(None, gt=0, description="default: (head_width + turned_width) ** -0.5")
        dropout: float = Field(0.0, ge=0, lt=1)
        norm: Annotated[Base, Slot("norms")] = Field("rms", validate_default=True)
        position: Annotated[Base | None, Slot("positions")] = None

    def __init__(self, c: Options, width: int, causal: bool) -> None:
        super().__init__()
        if not c.norm.part.pointwise:
            raise InputError(f"{self.use()}: norm {c.norm.part.use()!r} looks at all tokens at once")
        self.size = c.head_width or head_width(self, width, c.heads)
        self.heads, self.value = c.heads, c.value_width or self.size
        self.turned = c.turned_width or -(-self.size // 4) * 2
        self.rank = c.kv_rank or -(-width // 4)
        self.causal, self.dropout = causal, c.dropout
        self.mask: Mask = Same() & Causal() if causal else Same()
        self.scale = (self.size + self.turned) ** -0.5 if c.scale is None else c.scale
        queries = c.heads * (self.size + self.turned)
        self.down_q = linear(width, c.q_rank, c.bias) if c.q_rank else None
        self.norm_q: Norm | None = c.norm.build(c.q_rank) if c.q_rank else None
        self.q = linear(c.q_rank, queries, False) if c.q_rank else linear(width, queries, False)
        self.down_kv, self.turned_k = linear(width, self.rank, c.bias), linear(width, self.turned, c.bias)
        self.norm_kv: Norm = c.norm.build(self.rank)
        self.k = nn.Parameter(torch.randn(c.heads, self.size, self.rank) * self.rank**-0.5)
        self.v = nn.Parameter(torch.randn(c.heads, self.value, self.rank) * self.rank**-0.5)
        self.o = linear(c.heads * self.value, width, c.bias)
        self.position = c.position.build(1, self.turned) if c.position else None

    def _latent(self, x: Tensor, at: Layout) -> tuple[Tensor, Tensor]:
        """(norm(down_kv x) (B, T, rank), the turned part of all keys (B, T, R))."""
        return self.norm_kv(self.down_kv(x), at), self._turn(self.turned_k(x)[:, None], at)[:, 0]

    def _whole(self, x: Tensor, at: Layout, latent: Tensor, turned: Tensor) -> Tensor:
        """The answer (B, T, D) to tokens that are all there are: keys and values are made."""
        k = latent[:, None] @ self.k.mT  # (B, H, T, E)
        k = torch.cat((k, turned[:, None].expand(-1, self.heads, -1, -1)), -1)
        v = latent[:, None] @ self.v.mT
        return self._out(self._attend(torch.cat(self._queries(x, at), -1), k, v, self.mask, at, at))

    def _meet(self, x: Tensor, at: Layout, latent: Tensor, turned: Tensor, there: Layout, mask: Mask) -> Tensor:
        """The answer (B, T, D) from latents (B, S, rank) and turned parts (B, S, R) at `there`: no keys are made."""
        q, p = self._queries(x, at)
        keys = torch.cat((latent, turned), -1)[:, None]
        met = self._attend(torch.cat((q @ self.k, p), -1), keys, latent[:, None], mask, at, there)
        return self._out(met @ self.v.mT)

    def _queries(self, x: Tensor, at: Layout) -> tuple[Tensor, Tensor]:
        """(B, H, T, E) that meet what latents become, (B, H, T, R) that meet the turned part."""
        if self.down_q is not None and self.norm_q is not None:
            x = self.norm_q(self.down_q(x), at)
        q, p = split_heads(self.q(x), self.heads).split((self.size, self.turned), -1)
        return q, self._turn(p, at)

    def _turn(self, x: Tensor, at: Layout) -> Tensor:
        return x if self.position is None else self.position.rotate(x, at)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, at: Layout, there: Layout) -> Tensor:
        return attend(q, k, v, mask, at, there, self.scale, self.dropout if self.training else 0.0)

    def _out(self, y: Tensor) -> Tensor:
        return self.o(merge_heads(y))
