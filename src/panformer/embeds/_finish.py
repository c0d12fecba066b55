"""What most embeds end with: position vectors, a norm, dropout, zeros at padding."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Embed
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..ops.dropout import dropout


def laid(raw: Tensor, at: Layout | None) -> Layout:
    """Where raw input (B, T, ...) sits: one full sequence per row if nothing else is said."""
    return Layout.dense(raw.shape[0], raw.shape[1], device=raw.device) if at is None else at


class Options(Base):
    norm: Annotated[Base | None, Slot("norms")] = None
    dropout: float = Field(0.0, ge=0, lt=1)


class Ordered(Options):
    position: Annotated[Base | None, Slot("positions")] = None  # added vectors only


class Finished(Embed):
    """An embed whose tokens get added positions (where its options have them), a norm and dropout."""

    def __init__(self, c: Options, width: int) -> None:
        super().__init__()
        place = getattr(c, "position", None)
        if place is not None and place.part.kind not in ("add", "none"):
            raise InputError(f"{self.use()}: position {place.part.use()!r} adds no vectors; it belongs to the mixers")
        if c.norm is not None and not c.norm.part.pointwise:
            raise InputError(
                f"{self.use()}: norm {c.norm.part.use()!r} looks at other tokens; an embed's norm must not"
            )
        self.position = place.build(1, width) if place is not None else None
        self.norm = c.norm.build(width) if c.norm is not None else None
        self.dropout = c.dropout

    def finish(self, x: Tensor, at: Layout) -> Tensor:
        """(B, T, D) with position vectors, normalised, dropped out, 0 at padding."""
        if self.position is not None:
            x = self.position.add(x, at)
        if self.norm is not None:
            x = self.norm(x, at)
        return at.clean(dropout(x, self.dropout, self.training))
