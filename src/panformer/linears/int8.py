"""A linear map in 8-bit integers."""

from __future__ import annotations

from ..core.part import Config as Base
from ._int8 import EightBits


class Int8(EightBits):
    """s_r s_x round(x / s_x) . Q + b: whole numbers from -127 to 127 for the matrix, and for each row of x as it comes.

    Each output has a scale s_r = max|W_r| / 127 and each row of x one, s_x = max|x| / 127, so that no row depends on
    its neighbours in a batch. Sums are exact in 32 bits. Dettmers et al. 2022, LLM.int8(), without its outlier part.
    """

    paper = "Dettmers et al. 2022, LLM.int8(): 8-bit matrix multiplication for Transformers at scale"

    class Config(Base):
        pass

    def __init__(self, c: Config, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
