"""Wavelet mixing: the bands of every channel's wavelet transform along the tokens are weighed."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..core.layout import Layout
from ..ops.wavelet import wavelet
from ._bands import Bands


class Wavelet(Bands):
    """W' (g * W x), W the orthonormal wavelet transform of `levels`, g a number for every band and channel.

    A token reaches those near it, further the more levels; the filters have 2 `order` numbers and go around the end of
    the sequence. Daubechies 1988; Mallat 1989.
    """

    paper = "Daubechies 1988, Orthonormal bases of compactly supported wavelets"
    examples = ({}, {"levels": 2, "order": 1}, {"levels": 3, "order": 4})

    class Config(Bands.Options):
        order: int = Field(2, gt=0, le=10, description="vanishing moments: 1 is Haar's")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c, width)
        self.order = c.order

    def turn(self, x: Tensor, at: Layout, back: bool) -> Tensor:
        return wavelet(x, at, self.order, self.levels, back)
