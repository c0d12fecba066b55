"""What mixers share that read every sequence in several orders, each by a causal mixer of one config."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Mixer
from ..core.part import Config as Base
from ..core.part import Slot


class Several(Mixer):
    """add: the sum of what the readers answer; concat: o of their answers side by side."""

    o: torch.nn.Linear | None

    class Options(Base):
        mixer: Annotated[Base, Slot("mixers")] = Field(description="a causal mixer without parts that count positions")
        join: Literal["add", "concat"] = "add"

    def readers(self, c: Options, width: int, count: int) -> list[Mixer]:
        """The mixer this many times, each with weights of its own. Errors: InputError where it does not read a line."""
        made: list[Mixer] = [c.mixer.build(width) for _ in range(count)]
        first = made[0]
        if not first.causal or first.lattice or first.needs:
            name = first.use()
            raise InputError(f"{self.use()}: mixer {name!r} does not read from one end; give a causal one")
        self.growth = first.growth
        return made

    def joined(self, answers: list[Tensor]) -> Tensor:
        return sum(answers[1:], answers[0]) if self.o is None else self.o(torch.cat(answers, -1))
