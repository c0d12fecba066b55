"""Linear attention with a bias for every distance, by Fourier transforms."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Mixer, head_width, linear
from ..core.grow import grown
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.score import Causal, Same, along
from ..core.shared import Shared
from ..ops.attend import merge_heads, split_heads
from ..ops.toeplitz_linear import toeplitz_linear
from ._past import joined, nothing, remembered


class ToeplitzAttention(Mixer):
    """o(sum_j c_(i-j) f(q_i).f(k_j) v_j / sum_j c_(i-j) f(q_i).f(k_j)), c = exp(bias of the position). Luo et al. 2021.

    The position is a bias that depends on the distance alone, such as t5; without one c = 1. With `length` queries and
    keys are scaled to that length, which the paper does to keep random features from diverging (it takes 1; a feature
    may scale them further). A causal stream has no state of constant size: it keeps all keys and values, and a token
    costs as much as there are before it.
    """

    paper = "Luo et al. 2021, Stable, fast and accurate: kernelized attention with relative positional encoding"
    positions = frozenset({"bias"})
    growth = "n log n"
    examples = (
        {"heads": 2, "position": {"use": "t5", "buckets": 8, "reach": 12}},
        {"heads": 2, "causal": True, "position": {"use": "t5", "buckets": 8, "reach": 12}, "length": 1.5},
        {"heads": 4, "causal": True, "feature": "elu", "bias": True, "position": "kerple"},
        {"heads": 2},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        causal: bool | None = None
        feature: Annotated[Base, Slot("features")] = Field("random", validate_default=True)
        length: float | None = Field(None, gt=0, description="of queries and keys; default: as they come")
        bias: bool = False
        position: Annotated[Base | None, Slot("positions")] = None

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.heads, self.size, self.causal = c.heads, head_width(self, width, c.heads), bool(c.causal)
        self.scale = c.length
        self.feature = c.feature.build(c.heads, self.size)
        self.q, self.k, self.v, self.o = (linear(width, width, c.bias) for _ in range(4))
        self.position = c.position.build(c.heads, self.size) if c.position else None
        if self.position is not None and self.position.kind != "none":
            name, score = self.position.use(), self.position.bias()
            if score is not None and not score.relative:
                raise InputError(f"toeplitz_attention: the bias of {name!r} depends on more than the distance; try t5")

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        along(at)
        q, k, v = self._maps(x, at)
        return self._read(toeplitz_linear(q, k, v, self._bias(at, v), at, self.causal))

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, ...]:
        keys = like.new_zeros(batch, self.heads, 0, self.feature.size)
        return keys, like.new_zeros(batch, self.heads, 0, self.size + 1), *nothing(batch, like)

    def chunk(self, x, at, state, shared=None):
        k, v, seg, pos = state
        q, new_k, new_v = self._maps(x, at)
        k, v, keys = grown(k, new_k, 2), grown(v, new_v, 2), joined((seg, pos), at)
        weight = (q @ k.mT).masked_fill(~(Same() & Causal()).keep(at, keys), 0)
        score = None if self.position is None else self.position.bias()
        if score is not None:
            far = score.value(at, keys).to(q.dtype)
            weight = weight * (far - far.amax((-1, -2), keepdim=True)).exp()
        return self._read(weight @ v), (k, v, *remembered(keys))

    def _maps(self, x: Tensor, at: Layout) -> tuple[Tensor, Tensor, Tensor]:
        """f(q), f(k) and the values with a column of ones."""
        x = at.clean(x)
        q, k, v = (split_heads(f(x), self.heads) for f in (self.q, self.k, self.v))
        if self.scale is not None:
            q, k = (F.normalize(z, dim=-1) * self.scale for z in (q, k))
        return *self.feature(q, k), torch.cat([v, torch.ones_like(v[..., :1])], -1)

    def _bias(self, at: Layout, like: Tensor) -> Tensor:
        """(H, 2 L - 1) at the distances 1 - L to L - 1; its largest is 0, which the ratio cannot tell."""
        far = at.longest - 1
        score = None if self.position is None else self.position.bias()
        if score is None:
            return like.new_zeros(self.heads, 2 * far + 1)
        ends = at.derive(
            "distances", lambda: (Layout.dense(1, 1, far, at.device), Layout.dense(1, 2 * far + 1, 0, at.device))
        )
        bias = score.value(*ends)[0, :, 0].flip(-1).to(like.dtype)  # the query stands in the middle
        seen = bias[:, far:] if self.causal else bias
        return bias - seen.amax(-1, keepdim=True)

    def _read(self, y: Tensor) -> Tensor:
        total = y[..., -1:]
        return self.o(merge_heads(y[..., :-1] / torch.where(total == 0, 1, total)))
