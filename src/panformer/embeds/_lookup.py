"""Vectors looked up by id: what `tokens`, `bytes` and `hashed` share."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import linear
from ..core.layout import Layout
from ._finish import Finished, Ordered, laid

START = 0.02  # deviation of new tables


class Options(Ordered):
    size: int | None = Field(None, gt=0, description="width of the table, then projected; default: the model's")
    scale: bool | float = False  # table vectors times sqrt(size), which brings new ones to size 1, or times this number


class Lookup(Finished):
    """project(drop(norm(table[id] * scale + type + position))). Ids that are out of range are refused on the CPU.

    New vectors have numbers of 0.02, beside which fixed waves (`sinusoidal`, of size 1) are all that a layer sees: `scale:
    true` goes with them, under which they begin at 1. Vaswani et al. 2017.
    """

    reads = "tokens"

    def __init__(self, c: Options, width: int, vocab: int, types: int = 0) -> None:
        size = c.size or width
        super().__init__(c, size)
        self.scale = (size**0.5 if c.scale else 1.0) if isinstance(c.scale, bool) else c.scale
        self.table = _table(vocab, size, size**-0.5 if c.scale is True else START)
        self.types = _table(types, size) if types else None
        self.project = linear(size, width) if c.size is not None else None

    def forward(self, raw: Tensor, at: Layout | None = None) -> tuple[Tensor, Layout]:
        """raw (B, T) ids, or (B, T, 2) ids and types."""
        ids, kinds = (raw, None) if raw.dim() == 2 else raw.unbind(-1)
        at = laid(ids, at)
        x = self.look(at.clean(ids)) * self.scale
        if self.types is not None:
            x = x + _find(self.types, torch.zeros_like(ids) if kinds is None else at.clean(kinds), "type id")
        elif kinds is not None:
            raise InputError(f"{self.use()}: the input brings type ids, but this embed has no types; set `types`")
        x = self.finish(x, at)
        return (x if self.project is None else at.clean(self.project(x))), at

    def look(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, size)."""
        return _find(self.table, ids, "token id")


def _table(rows: int, size: int, std: float = START) -> nn.Embedding:
    table = nn.Embedding(rows, size)
    nn.init.normal_(table.weight, std=std)
    return table


def _find(table: nn.Embedding, ids: Tensor, what: str) -> Tensor:
    """The rows of the table. Off the CPU a check would have to wait for the device, so torch's own stands there."""
    if ids.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = (int(v) for v in ids.aminmax())
        if low < 0 or high >= table.num_embeddings:
            bad = low if low < 0 else high
            raise InputError(f"{what} {bad} is outside the vocabulary, 0 .. {table.num_embeddings - 1}")
    return table(ids)
