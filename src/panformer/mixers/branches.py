"""Several mixers of one config side by side."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Mixer
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.shared import Shared
from ..core.state import State


class Branches(Mixer):
    """sum_i f_i(x), the f_i of one config with weights of their own: (B, T, D) -> (B, T, D).

    They read one norm of the layer. A norm for each branch, as in the paper, is the same function where the first maps
    of f have offsets, as its weight and offset can be multiplied into them. What the layers below give is for none of
    the branches. Touvron et al. 2022.
    """

    paper = "Touvron et al. 2022, Three things everyone should know about vision Transformers"
    examples = (
        {"mixer": {"use": "attention", "heads": 2}},
        {"mixer": {"use": "attention", "heads": 2, "position": "rope"}, "causal": True},
        {"mixer": {"use": "retention", "heads": 2}, "count": 3},
    )

    class Config(Base):
        mixer: Annotated[Base, Slot("mixers")] = Field("attention", validate_default=True)
        count: int = Field(2, gt=0, description="branches")
        causal: bool | None = Field(None, description="of the mixers, where they leave it open")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        inner = c.mixer
        if "causal" in type(inner).model_fields and getattr(inner, "causal", None) is None:
            inner = inner.model_copy(update={"causal": c.causal})
        self.each = nn.ModuleList(inner.build(width) for _ in range(c.count))
        first = self._mixers()[0]
        if first.needs:
            raise InputError(f"branches: mixer {first.use()!r} reads {', '.join(first.needs)}; no branch is given it")
        if c.causal and not first.causal:
            raise InputError(f"branches: mixer {first.use()!r} looks ahead and cannot stand in a causal model")
        self.causal, self.growth = first.causal, first.growth
        self.streams, self.lattice = first.streams, first.lattice  # type: ignore[misc]

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        answers = [mixer(x, at) for mixer in self._mixers()]
        return sum(answers[1:], answers[0])

    def start(self, batch: int, like: Tensor) -> State:
        return [mixer.start(batch, like) for mixer in self._mixers()]

    def chunk(self, x: Tensor, at: Layout, state: State, shared: Shared | None = None) -> tuple[Tensor, State]:
        pairs = [mixer.chunk(x, at, own) for mixer, own in zip(self._mixers(), state, strict=True)]
        answers, after = [out for out, _ in pairs], [own for _, own in pairs]
        return sum(answers[1:], answers[0]), after

    def _mixers(self) -> list[Mixer]:
        return [m for m in self.each if isinstance(m, Mixer)]
