"""Whole layers inside a mixer."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Channel, Mixer, Residual
from ..core.layout import Layout
from ..core.part import Config
from ..core.shared import Shared
from ..core.state import State

Mix = Callable[[Tensor], Tensor]


class Inner(nn.Module):
    """One of the layers inside the mixer `owner`: a causal mixer and, where there is one, a channel."""

    def __init__(
        self, owner: str, width: int, mixer: Config, channel: Config | None, norm: Config, residual: Config
    ) -> None:
        super().__init__()
        self.mixer: Mixer = mixer.build(width)
        if not self.mixer.causal or self.mixer.lattice or self.mixer.needs:
            raise InputError(f"{owner}: mixer {mixer.part.use()!r} does not read from one end; give a causal one")
        self.channel: Channel | None = channel.build(width) if channel else None
        if self.channel is not None and self.channel.couples:
            raise InputError(f"{owner}: tokens of channel {self.channel.use()!r} depend on each other")
        self.residual: Residual = residual.part(residual, width, norm, 1 if self.channel is None else 2)

    def forward(self, x: Tensor, at: Layout, shared: Shared) -> Tensor:
        return self._join(x, at, shared, lambda h: self.mixer(h, at, shared))

    def chunk(self, x: Tensor, at: Layout, state: State, shared: Shared) -> tuple[Tensor, State]:
        after: list[State] = []

        def mix(h: Tensor) -> Tensor:
            y, new = self.mixer.chunk(h, at, state, shared)
            after.append(new)
            return y

        return self._join(x, at, shared, mix), after[0]

    def _join(self, x: Tensor, at: Layout, shared: Shared, mix: Mix) -> Tensor:
        channel = self.channel
        branches = [mix] if channel is None else [mix, lambda h: channel(h, at, shared)]
        out: Tensor = self.residual(x, at, branches)
        return out
