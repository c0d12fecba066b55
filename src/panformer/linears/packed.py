"""A linear map whose matrix lies in the order that the machine's matrix product wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.part import Config as Base
from ..ops.activations import ACTIVATIONS, Activation
from ._dense import FUSED, Derived, Joint, on_cpu, room, rows_of, stacked

SERVED = (torch.float32, torch.bfloat16)
SERVES: Mapping[Activation, tuple[str, str]] = {**FUSED, "tanh": ("tanh", ""), "sigmoid": ("sigmoid", "")}


class Packed(Derived):
    """W x + b. For inference on a CPU oneDNN's own weight layout is kept beside W, so that no call has to make it.

    Where that cannot be used (gradients, other devices, other dtypes than fp32 and bf16) it is a plain linear map.
    """

    examples = ({},)
    fuses = frozenset(SERVES)

    class Config(Base):
        pass

    def __init__(self, c: Config, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * inputs**-0.5)
        self.bias = room(outputs, bias)

    def take(self, plain: nn.Linear) -> None:
        self.load_state_dict(plain.state_dict(), assign=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.fused(x, "identity")

    def fused(self, x: Tensor, activation: Activation) -> Tensor:
        if not self._served(x):
            return ACTIVATIONS[activation](F.linear(x, self.weight, self.bias))
        return _product(x, self.joint((self,)), activation)[0]

    @classmethod
    def together(cls, x: Tensor, maps: Sequence[Packed]) -> tuple[Tensor, ...]:
        """All matrices in one product."""
        if not all(m._served(x) for m in maps):
            return super().together(x, maps)
        return _product(x, maps[0].joint(maps), "identity")

    def sources(self) -> tuple[Tensor | None, ...]:
        return self.weight, self.bias

    @classmethod
    def arrange(cls, maps: Sequence[Packed]) -> Joint:
        sizes = [len(m.weight) for m in maps]
        whole = maps[0].weight if len(maps) == 1 else torch.cat([m.weight for m in maps])
        bias = stacked([m.bias for m in maps], sizes, whole)
        return Joint(torch.ops.mkldnn._reorder_linear_weight(whole.detach()), None, bias, sizes)

    def _served(self, x: Tensor) -> bool:
        return x.dtype == self.weight.dtype and x.dtype in SERVED and on_cpu(x, self.weight)


def _product(x: Tensor, joint: Joint, activation: Activation) -> tuple[Tensor, ...]:
    name, kind = SERVES[activation]
    out = torch.ops.mkldnn._linear_pointwise.default(rows_of(x), joint.weight, joint.bias, name, [], kind)
    return joint.apart(out, x)
