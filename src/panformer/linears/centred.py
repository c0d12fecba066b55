"""A linear map whose answers have mean 0."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..core.families import Linear, linear
from ..core.part import Config as Base
from ._dense import room


class Centred(Linear):
    """C (W x + b), C y = y - mean(y): the map with columns of mean 0 that W and b stand for while they are trained.

    Where all that is added to a stream is so, RMS norms answer as layer norms do and gradients are the same.
    Jiang et al. 2023.
    """

    paper = "Jiang et al. 2023, Pre-RMSNorm and Pre-CRMSNorm Transformers: equivalent and efficient Pre-LN Transformers"
    learns = True

    class Config(Base):
        pass

    def __init__(self, c: Config, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = linear(inputs, outputs, False).weight
        self.bias = room(outputs, bias)

    def take(self, plain: nn.Linear) -> None:
        self.weight, self.bias = plain.weight, plain.bias

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight, self.bias)
        return y - y.mean(-1, keepdim=True)
