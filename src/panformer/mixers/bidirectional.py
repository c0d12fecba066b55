"""Any causal mixer read from both ends: two of them, the second on every sequence turned around."""

from __future__ import annotations

from torch import Tensor

from ..core.families import linear
from ..core.layout import Layout
from ..core.shared import Shared
from ..ops.reverse import reverse
from ._several import Several


class Bidirectional(Several):
    """add: f(x) + turn(g(turn(x))); concat: o [f(x), turn(g(turn(x)))]. f and g are two mixers of one config.

    The token itself is in both, so its own weight is the sum of theirs. Schuster & Paliwal 1997.
    """

    paper = "Schuster & Paliwal 1997, Bidirectional recurrent neural networks"
    examples = (
        {"mixer": {"use": "mamba2", "heads": 2, "state": 3}},
        {"mixer": {"use": "gated_linear_attention", "heads": 2}, "join": "concat"},
    )

    class Config(Several.Options):
        pass

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.forth, self.back = self.readers(c, width, 2)
        self.o = linear(2 * width, width, False) if c.join == "concat" else None

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        return self.joined([self.forth(x, at), reverse(self.back(reverse(x, at), at), at)])
