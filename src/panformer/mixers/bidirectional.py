"""Any causal mixer read from both ends: two of them, the second on every sequence turned around."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Mixer, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.shared import Shared
from ..ops.reverse import reverse


class Bidirectional(Mixer):
    """add: f(x) + turn(g(turn(x))); concat: o [f(x), turn(g(turn(x)))]. f and g are two mixers of one config.

    The token itself is in both, so its own weight is the sum of theirs. Schuster & Paliwal 1997.
    """

    paper = "Schuster & Paliwal 1997, Bidirectional recurrent neural networks"
    examples = (
        {"mixer": {"use": "mamba2", "heads": 2, "state": 3}},
        {"mixer": {"use": "gated_linear_attention", "heads": 2}, "join": "concat"},
    )

    class Config(Base):
        mixer: Annotated[Base, Slot("mixers")] = Field(description="a causal mixer without parts that count positions")
        join: Literal["add", "concat"] = "add"

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.forth, self.back = c.mixer.build(width), c.mixer.build(width)
        name = self.forth.use()
        if not self.forth.causal or self.forth.lattice or self.forth.needs:
            raise InputError(f"bidirectional: mixer {name!r} does not read from one end; give a causal one")
        self.growth = self.forth.growth
        self.o = linear(2 * width, width, False) if c.join == "concat" else None

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        one, other = self.forth(x, at), reverse(self.back(reverse(x, at), at), at)
        return one + other if self.o is None else self.o(torch.cat([one, other], -1))
