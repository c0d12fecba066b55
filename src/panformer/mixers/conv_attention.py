"""Softmax attention whose queries, keys and values are made by convolutions on the lattice."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Mixer, head_width, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.score import Same
from ..core.shared import Shared
from ..ops.attend import attend, merge_heads, split_heads
from ..ops.lattice import lattice


class Local(nn.Module):
    """Every channel alone over `kernel` x `kernel` cells, every `stride` cells, then normalised over the batch.

    (B, D, h, w) -> (B, T, D), T = ceil(h / stride) ceil(w / stride). In evaluation the mean and the variance are those
    that training has seen, so that images do not depend on each other.
    """

    def __init__(self, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, kernel, stride, kernel // 2, groups=width, bias=False)
        nn.init.normal_(self.conv.weight, std=1 / kernel)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, cells: Tensor) -> Tensor:
        tokens = self.conv(cells).flatten(2).mT
        return self.norm(tokens.flatten(0, 1)).view(tokens.shape)  # for one image, BatchNorm2d has wrong gradients


class ConvAttention(Mixer):
    """o(softmax(q k' scale) v), q = Q conv_q(x), k = K conv_k(x), v = V conv_v(x); scale = 1 / sqrt(width).

    Keys and values are made for every `stride`-th cell along each axis. Tokens before the lattice, such as a class
    token, pass the convolutions by. In training the convolutions are normalised over the batch. Wu et al. 2021.
    """

    paper = "Wu et al. 2021, CvT: introducing convolutions to vision transformers"
    lattice = True
    growth = "n^2"
    examples = ({"heads": 2}, {"heads": 4, "kernel": 5, "stride": 2, "bias": True})

    class Config(Base):
        heads: int = Field(4, gt=0)
        kernel: int = Field(3, gt=0, description="odd: cells seen along each axis")
        stride: int = Field(1, gt=0, description="cells from one key to the next along each axis")
        bias: bool = False
        out_bias: bool | None = Field(None, description="default: as bias")
        dropout: float = Field(0.0, ge=0, lt=1)

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        head_width(self, width, c.heads)
        if c.kernel % 2 == 0:
            raise InputError(f"conv_attention: kernel must be odd, so that a window has a middle; got {c.kernel}")
        self.heads, self.dropout, self.scale = c.heads, c.dropout, width**-0.5
        self.local = nn.ModuleDict({n: Local(width, c.kernel, 1 if n == "q" else c.stride) for n in "qkv"})
        self.q, self.k, self.v = (linear(width, width, c.bias) for _ in range(3))
        self.o = linear(width, width, c.bias if c.out_bias is None else c.out_bias)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        count, grid = lattice(at, "conv_attention")
        if len(grid) != 2:
            raise InputError("conv_attention: needs tokens on a lattice of two axes")
        first, cells = x[:, :count], x[:, count:].mT.unflatten(2, grid)
        made = [
            split_heads(m(torch.cat([first, self.local[n](cells)], 1)), self.heads)
            for n, m in (("q", self.q), ("k", self.k), ("v", self.v))
        ]
        keys = at.derive(("keys", made[1].shape[2]), lambda: Layout.dense(at.batch, made[1].shape[2], device=at.device))
        asked = at.derive("queries", lambda: Layout.dense(at.batch, at.length, device=at.device))
        dropout = self.dropout if self.training else 0.0
        return self.o(merge_heads(attend(*made, Same(), asked, keys, self.scale, dropout)))
