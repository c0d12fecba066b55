"""Linear attention: a feature map in place of the softmax, so that the past fits into one sum of constant size."""

from __future__ import annotations

from torch import Tensor

from ..core.layout import Layout
from ..core.shared import Shared
from ._linear import LinearSums


class LinearAttention(LinearSums):
    """o(sum_j f(q_i).f(k_j) v_j / sum_j f(q_i).f(k_j)) for a feature map f >= 0. Katharopoulos et al. 2020.

    A rotation turns f(q) and f(k) in the numerator alone, which keeps the denominator positive: Su et al. 2021,
    RoFormer, section 3.3. A score bias must separate into u_i - v_j, and becomes a decay of both sums.
    """

    paper = "Katharopoulos et al. 2020, Transformers are RNNs: fast autoregressive transformers with linear attention"
    examples = (
        {"heads": 2},
        {"heads": 2, "causal": True},
        {"heads": 4, "causal": True, "feature": "relu", "bias": True},
        {"heads": 2, "feature": "softplus", "position": "rope"},
        {"heads": 2, "causal": True, "feature": "square", "position": "rope"},
        {"heads": 2, "causal": True, "position": "alibi"},
    )

    class Config(LinearSums.Options):
        pass

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        return self.o(self.whole(self.lanes(at.clean(x), at), at))

    def chunk(self, x, at, state, shared=None):
        y, state = self.next(self.lanes(at.clean(x), at), at, state)
        return self.o(y), state
