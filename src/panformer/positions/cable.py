"""A penalty that grows with distance, at a slope that every token sets itself."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ..core.families import Position, linear
from ..core.layout import Layout
from ..core.part import Config as Base


class Cable(Position):
    """-|c_i - c_j|, c_t = c_{t-1} - softplus(w_h x_t + b_h), x what the layer reads: a step per token and head.

    For a key before the query these are the steps of the tokens after it, the query's own among them. Equal steps are
    ALiBi; as -softplus(z) = log sigmoid(-z), it is the decay of a forget gate (Lin et al. 2025, Forgetting
    transformer). Veisi et al. 2025.
    """

    paper = "Veisi et al. 2025, Context-aware biases for length extrapolation"
    kind = "context"
    common = False

    class Config(Base):
        pass

    def __init__(self, c: Config, heads: int, size: int, width: int) -> None:
        super().__init__()
        self.w = linear(width, heads)

    def marks(self, x: Tensor, at: Layout) -> Tensor:
        """(B, H, T): the step of every token, 0 at padding."""
        return at.clean(F.softplus(self.w(x))).transpose(1, 2)

    def context(self, q: Tensor, k: Tensor, marks: Tensor | None, q_at: Layout, k_at: Layout) -> Tensor:
        assert marks is not None
        if q_at is k_at:
            steps = k_at.to_rows(marks.transpose(1, 2))
            c = k_at.from_rows(steps.cumsum(1)).transpose(1, 2)
        else:
            c = marks.cumsum(2)
        return -(c[:, :, -q.shape[2] :, None] - c[:, :, None]).abs()
