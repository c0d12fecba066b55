"""Linear attention with a rectifier as feature map, and a convolution along the values for what is near."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.shared import Shared
from ..ops.attend import merge_heads
from ..ops.conv import depthwise, depthwise_chunk
from ._linear import Lane, LinearSums


class SimplifiedLinearAttention(LinearSums):
    """o(sum_j f(q_i).f(k_j) v_j / sum_j f(q_i).f(k_j) + conv(v)_i), f(x) = relu(x) + 0.001. Guo et al. 2024, SLAB.

    `conv` is the width of a depthwise convolution along the sequence, with its token in the middle, or at the end where
    attention is causal; every channel has its own weights. The paper's f is relu alone. Its code works on images, with a
    square kernel on the lattice that all heads share, and adds 1e-6 to the sum that it divides by, where here f keeps
    the sum above 0; to keys it adds a learned position of each token of a window.
    """

    paper = "Guo et al. 2024, SLAB: efficient transformers with simplified linear attention and progressive batch norm"
    examples = (
        {"heads": 2},
        {"heads": 2, "causal": True, "conv": 3, "bias": True},
        {"heads": 4, "causal": True, "conv": 1, "position": "rope"},
    )

    class Config(LinearSums.Options):
        feature: Annotated[Base, Slot("features")] = Field("relu", validate_default=True)
        conv: int = Field(5, gt=0, description="odd: values that a token adds")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c, width)
        if c.conv % 2 == 0:
            raise InputError(f"simplified_linear_attention: conv must be odd, got {c.conv}")
        self.kernel = nn.Parameter(torch.randn(width, c.conv) * c.conv**-0.5)
        self.offset = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        lanes = self.lanes(at.clean(x), at)
        size = self.kernel.shape[1]
        left = size - 1 if self.causal else size // 2
        near = depthwise(self._values(lanes, at), self.kernel, self.offset, at, left)
        return self.o(self.whole(lanes, at) + near)

    def start(self, batch, like):
        past = like.new_zeros(batch, self.kernel.shape[1] - 1, len(self.offset))
        return super().start(batch, like), past

    def chunk(self, x, at, state, shared=None):
        lanes = self.lanes(at.clean(x), at)
        y, sums = self.next(lanes, at, state[0])
        near, past = depthwise_chunk(self._values(lanes, at), self.kernel, self.offset, at, state[1])
        return self.o(y + near), (sums, past)

    def _values(self, lanes: list[Lane], at: Layout) -> Tensor:
        """(B, T, D), 0 at padding."""
        return at.clean(merge_heads(lanes[0][2][..., : self.size]))
