"""A linear map whose largest gain is one learned number."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ..core.families import Linear, linear
from ..core.part import Config as Base
from ._dense import room


class Spectral(Linear):
    """gamma / sigma(W) W x + b, sigma(W) the largest singular value of W, gamma learned. Zhai et al. 2023, sigmaReparam.

    sigma is u' W v, where power iteration goes one step on at every use in training; its gradient takes u and v as
    given. `gain` is gamma at the start; null keeps the size of the map that it replaces, and so its function.
    """

    paper = "Zhai et al. 2023, Stabilizing Transformer training by preventing attention entropy collapse"
    learns = True
    examples = ({}, {"gain": None})

    class Config(Base):
        gain: float | None = Field(1.0, gt=0)

    def __init__(self, c: Config, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.gain = c.gain
        self.gamma = nn.Parameter(torch.ones(()))
        self.bias = room(outputs, bias)
        self._normalise(linear(inputs, outputs, False))

    def _normalise(self, plain: nn.Linear) -> None:
        """Take on this map without its offset; `spectral_norm` begins with 15 steps of power iteration."""
        weight = plain.weight.detach()
        self.map = spectral_norm(plain)
        with torch.no_grad():
            answers = self.map(torch.eye(weight.shape[1]).to(weight))
            size = weight.norm() / answers.norm()  # as the power iteration sees it, so that nothing changes
            self.gamma.copy_(size if self.gain is None else torch.tensor(self.gain))

    def take(self, plain: nn.Linear) -> None:
        own = nn.Linear(plain.in_features, plain.out_features, bias=False)
        own.weight = nn.Parameter(plain.weight.detach().clone())
        self._normalise(own)
        self.bias = plain.bias

    def forward(self, x: Tensor) -> Tensor:
        y = self.gamma * self.map(x)
        return y if self.bias is None else y + self.bias
