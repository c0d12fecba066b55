"""What mixers share that weigh the octaves of a transform along the tokens."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.families import Mixer
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.sequences import octaves


class Bands(Mixer):
    """W' (g * W x), W the orthonormal transform of a sequence of its length, g a number for every octave and channel.

    The second half of the coefficients is one octave, the quarter before it the next, and so on for `levels`; what is
    left is the last. With g = 1 the answer is x.
    """

    class Options(Base):
        levels: int = Field(4, gt=0, description="octaves beside the lowest, which takes the rest")

    def __init__(self, c: Options, width: int) -> None:
        super().__init__()
        self.levels = c.levels
        self.gain = nn.Parameter(torch.randn(c.levels + 1, width))

    def turn(self, x: Tensor, at: Layout, back: bool) -> Tensor:
        """W x, or W' x: (B, T, D) -> (B, T, D)."""
        raise NotImplementedError

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        waves = self.turn(at.clean(x), at, False)
        return self.turn(self.gain[octaves(at, self.levels)] * waves, at, True)
