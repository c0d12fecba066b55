"""The only side channel between layers: lent tensors, encoder memory, auxiliary losses.

A part declares the names it `gives` and `takes` on its class; the build checks that someone gives
what another takes. One `Shared` lives for one layer of one forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Shared:
    lent: Mapping[str, Any] = field(default_factory=dict)  # given by an earlier layer or the encoder
    given: dict[str, Any] = field(default_factory=dict)  # what this layer offers to later ones
    losses: dict[str, Tensor] = field(default_factory=dict)  # summed over layers, added by the loop
    stats: dict[str, Tensor] = field(default_factory=dict)  # detached counts for the run report

    def take(self, name: str) -> Any | None:
        """What an earlier layer lent under this name, or None."""
        return self.lent.get(name)

    def give(self, name: str, value: Any) -> None:
        self.given[name] = value

    def charge(self, name: str, loss: Tensor) -> None:
        """Add an auxiliary loss; layers that charge the same name are summed."""
        self.losses[name] = self.losses[name] + loss if name in self.losses else loss

    def layer(self, lent: Mapping[str, Any]) -> Shared:
        """The channel of one layer: its own lent and given names, common losses and stats."""
        return Shared(lent, {}, self.losses, self.stats)
