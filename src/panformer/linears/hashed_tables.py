"""A linear map's place taken by tables that are looked up by the signs of the input."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Linear
from ..core.part import Config as Base
from ._dense import room

SQUARE = 0.6266  # mean of sigmoid(2 |z|)^2 for normal z: answers to normal inputs have variance 1 at the start


class HashedTables(Linear):
    """sum_k p_k T_k[h_k] + b: the input in K chunks of `bits` numbers, h_k the signs of chunk k read as a number.

    p_k = prod_i sigmoid(2 |x_ki|) is the share that the corner of signs h_k has in a softmax of <x_k, corner> over all
    2^bits corners, which lets gradients reach x. The K tables T_k have 2^bits rows each: K * outputs additions for a
    token, and inputs * outputs * 2^bits / bits numbers kept. Of the map it replaces it keeps the offset alone.
    Ding et al. 2024, MemoryFormer.
    """

    paper = "Ding et al. 2024, MemoryFormer: minimize Transformer computation by removing fully-connected layers"
    learns = True
    examples = ({"bits": 4}, {"bits": 2})
    undecayed = ("tables",)

    class Config(Base):
        bits: int = Field(8, gt=0, le=16, description="numbers of a chunk; they must divide the inputs")

    def __init__(self, c: Config, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        if inputs % c.bits:
            raise InputError(f"hashed_tables: {inputs} inputs do not divide into chunks of {c.bits}")
        self.bits, chunks = c.bits, inputs // c.bits
        self.tables = nn.Parameter(torch.randn(chunks << c.bits, outputs) * (chunks * SQUARE**c.bits) ** -0.5)
        self.register_buffer("place", 1 << torch.arange(c.bits), persistent=False)
        self.register_buffer("first", torch.arange(chunks) << c.bits, persistent=False)
        self.place: Tensor
        self.first: Tensor
        self.bias = room(outputs, bias)

    def take(self, plain: nn.Linear) -> None:
        self.bias = plain.bias

    def forward(self, x: Tensor) -> Tensor:
        share, row = corners(x, self.place)
        rows, shares = (row + self.first).flatten(0, -2), share.flatten(0, -2)
        y = F.embedding_bag(rows, self.tables, mode="sum", per_sample_weights=shares.to(self.tables.dtype))
        y = y.view(*x.shape[:-1], -1)
        return y if self.bias is None else y + self.bias


def corners(x: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """(share of the corner, its number) of every chunk: (..., K * bits), (bits,) -> (..., K) each."""
    chunks = x.unflatten(-1, (-1, len(place)))
    share = F.logsigmoid(2 * chunks.abs()).sum(-1).exp()
    return share, ((chunks > 0).long() * place).sum(-1)
