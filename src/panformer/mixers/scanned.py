"""Any causal mixer on a lattice: it reads the cells in several orders, so that each cell hears from all others."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from ..core.families import linear
from ..core.layout import Layout
from ..core.shared import Shared
from ..ops.orders import CROSS, Order, arrange, line, restore
from ._several import Several


class Scanned(Several):
    """add: sum_s P_s' f_s(P_s x); concat: o [P_s' f_s(P_s x)], P_s the permutation into order s, f_s of one config.

    The default orders are the cross: rows and columns, each from both ends. `tied` gives all of them one f. Orders are
    explained in `ops/orders.py`. Images may be packed and padded, too, where tokens have two coordinates; class tokens
    before a lattice are read first, and last from the end. Liu et al. 2024 (cross); Yang et al. 2024, PlainMamba
    (continuous orders, `snake`). VMamba has one map into and out of all four scans and a recurrence for each.
    """

    paper = "Liu et al. 2024, VMamba: visual state space model"
    lattice = True
    examples = (
        {"mixer": {"use": "mamba", "state": 3, "expand": 1}},
        {"mixer": "min_gru", "orders": ["snake", "column_snake_back", "spiral_back"], "join": "concat"},
        {"mixer": {"use": "gated_linear_attention", "heads": 2}, "orders": ["raster", "spiral"], "tied": True},
    )

    class Config(Several.Options):
        orders: tuple[Order, ...] = Field(CROSS, min_length=1, description="in which the cells are read")
        tied: bool = Field(False, description="one set of weights for all orders")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.orders = c.orders
        self.read = nn.ModuleList(self.readers(c, width, 1 if c.tied else len(c.orders)))
        self.o = linear(len(c.orders) * width, width, False) if c.join == "concat" else None

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x, along, turn = at.clean(x), line(at), len(self.read)
        readers = (self.read[i % turn] for i in range(len(self.orders)))
        return self.joined([
            restore(reader(arrange(x, at, order), along), at, order)
            for reader, order in zip(readers, self.orders, strict=True)
        ])  # fmt: skip
