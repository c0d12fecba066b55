"""Cosine mixing: the octaves of every channel's cosine transform along the tokens are weighed."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ..core.layout import Layout
from ..ops.cosine import cosine
from ._bands import Bands


class Dct(Bands):
    """C' (g * C x), C the orthonormal cosine transform of kind 2 or 4, g a number for every octave and channel.

    With kind 2 the lowest octave is the mean of the sequence where it holds one coefficient. Ahmed et al. 1974.
    """

    paper = "Ahmed et al. 1974, Discrete cosine transform"
    growth = "n log n"
    examples = ({}, {"levels": 2, "kind": 4})

    class Config(Bands.Options):
        kind: Literal[2, 4] = 2

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c, width)
        self.kind = c.kind

    def turn(self, x: Tensor, at: Layout, back: bool) -> Tensor:
        return cosine(x, at, self.kind, back)
