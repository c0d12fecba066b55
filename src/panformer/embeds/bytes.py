"""A learned vector per byte: no tokenizer."""

from __future__ import annotations

from pydantic import Field

from ._lookup import Lookup, Options


class Bytes(Lookup):
    """table[byte], with ids 0 .. 255 for the bytes themselves and `specials` ids after them. Xue et al. 2021, ByT5."""

    paper = "Xue et al. 2021, ByT5: towards a token-free future with pre-trained byte-to-byte models"

    class Config(Options):
        specials: int = Field(0, ge=0, description="ids from 256 on, such as an end mark or a mask")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c, width, 256 + c.specials)
