"""Every cell of a table row is a token."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.layout import Layout
from ._finish import Finished, Options, laid


class Columns(Finished):
    """number * weight[column] + bias[column] + table[category]: values (B, T, 2) -> (B, T, D).

    values[..., 0] is the standardised number (0 where there is none), values[..., 1] the category as a float: ids
    1 .. categories-1 over all columns, 0 where the cell is a number. The column is the position of the cell.
    Gorishniy et al. 2021, FT-Transformer.
    """

    reads = "values"
    paper = "Gorishniy et al. 2021, Revisiting deep learning models for tabular data"
    examples = ({"columns": 24, "categories": 5},)

    class Config(Options):
        columns: int = Field(gt=0)
        categories: int = Field(1, gt=0, description="categories of all columns together, plus 1 for id 0")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c, width)
        self.weight = nn.Parameter(torch.randn(c.columns, width) * width**-0.5)
        self.bias = nn.Parameter(torch.randn(c.columns, width) * width**-0.5)
        self.category = nn.Parameter(torch.randn(c.categories - 1, width) * width**-0.5)

    def forward(self, raw: Tensor, at: Layout | None = None) -> tuple[Tensor, Layout]:
        if raw.shape[-1] != 2:
            raise InputError(f"columns: values must be (B, T, 2), number and category, got {tuple(raw.shape)}")
        at = laid(raw, at)
        number, category = at.clean(raw).unbind(-1)
        column, category = at.pos[..., 0], category.round().long()
        _check(column, len(self.weight), "column")
        _check(category, len(self.category) + 1, "category")
        table = F.pad(self.category, (0, 0, 1, 0))  # id 0, a number, adds nothing and is not learned
        x = number[..., None] * F.embedding(column, self.weight) + F.embedding(column, self.bias)
        return self.finish(x + F.embedding(category, table), at), at

    def dummy(self, batch: int, length: int) -> Tensor:
        return torch.zeros(batch, min(length, len(self.weight)), 2)


def _check(ids: Tensor, known: int, what: str) -> None:
    if ids.device.type != "cpu" or torch.compiler.is_compiling():
        return
    low, high = (int(v) for v in ids.aminmax())
    if low < 0 or high >= known:
        raise InputError(f"columns: {what} {low if low < 0 else high} is outside 0 .. {known - 1}")
