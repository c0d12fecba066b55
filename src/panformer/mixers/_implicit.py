"""Filters that are functions of the distance: a small network of sines says every weight, however far away it is."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..core.layout import exporting
from ..core.maps import stamp

FADED = 0.01  # what is left of a window after its span


class Implicit(nn.Module):
    """h(t) = (window(t) + shift) net(t / L, cos(2 pi k t / L), sin(2 pi k t / L)), k = 0 .. bands - 1, for D channels.

    net is `depth` layers sin(pace * (W z + b)) of `hidden` numbers and a linear map; the windows fall to a hundredth
    within `spans` L tokens, fastest and slowest channel, evenly in rate. L = `length` sets the scale alone: filters go
    on beyond. At the start a filter has an energy of about 1 over its window, so that answers are of the size of what
    comes in. Romero et al. 2021, CKConv; Poli et al. 2023, Hyena.
    """

    undecayed = ("enter", "inner", "offsets", "leave", "pace")

    def __init__(
        self, channels: int, length: int, bands: int, hidden: int, depth: int, pace: float,
        spans: tuple[float, float], shift: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.length, self.bands, self.shift = length, bands, shift
        self.rates = tuple(-math.log(FADED) / (s * length) for s in spans)
        self.channels = channels
        self.enter = nn.Parameter(_uniform(hidden, 1 + 2 * bands))
        self.inner = nn.Parameter(_uniform(depth - 1, hidden, hidden))
        self.offsets = nn.Parameter(_uniform(depth, hidden))
        self.pace = nn.Parameter(torch.full((depth, hidden), pace))
        energy = self._window(torch.arange(length, dtype=torch.float64)).square().sum(1, keepdim=True)
        self.leave = nn.Parameter(torch.randn(channels, hidden) * (energy * hidden / 2).rsqrt().float())
        self._held: tuple[Any, Tensor] | None = None

    def forward(self, behind: int, ahead: int = 0) -> Tensor:
        """(D, ahead + behind): the weights of the distances -ahead to behind - 1, of float32 at least."""
        kind = torch.promote_types(self.leave.dtype, torch.float32)
        place = torch.arange(-ahead, behind, device=self.leave.device)
        turn = place[:, None] * torch.arange(self.bands, device=place.device) % self.length  # exact however far away
        turn = turn.to(kind) * (2 * math.pi / self.length)
        z = torch.cat([place[:, None].to(kind) / self.length, turn.cos(), turn.sin()], 1)
        with torch.autocast(place.device.type, enabled=False):
            for w, b, pace in zip((self.enter, *self.inner), self.offsets, self.pace):
                z = torch.sin(pace.to(kind) * (z @ w.to(kind).mT + b.to(kind)))
            return self._window(place.to(kind)) * (self.leave.to(kind) @ z.mT)

    def remembered(self, behind: int) -> Tensor:
        """`forward(behind)` for a stream, which asks for one more at every step.

        Without gradients the filters are kept until a weight changes, and made for twice as many tokens at a time.
        """
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or exporting():
            return self(behind)
        if torch._C._len_torch_dispatch_stack():  # whoever watches the operations counts all of them
            return self(behind)
        key = [stamp(p) for p in self.parameters()]
        if self._held is None or self._held[0] != key or self._held[1].shape[1] < behind:
            self._held = (key, self(1 << (behind - 1).bit_length()))
        return self._held[1][:, :behind]

    def _window(self, place: Tensor) -> Tensor:
        """(D, K) for distances (K,)."""
        fast, slow = self.rates
        rate = torch.linspace(slow, fast, self.channels, dtype=place.dtype, device=place.device)
        return torch.exp(-rate[:, None] * place.abs()) + self.shift

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None}


def _uniform(*shape: int) -> Tensor:
    """Evenly between the square roots of 1 / (numbers that come in), below and above 0."""
    return torch.empty(shape).uniform_(-1, 1) * shape[-1] ** -0.5
