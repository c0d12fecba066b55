"""Plain linear maps: those that no part stands for."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .product import product


class Plain(nn.Linear):
    """W x + b, by the fastest product of the machine."""

    def forward(self, x: Tensor) -> Tensor:
        return product(x, self.weight, self.bias)


def is_plain(module: nn.Module) -> bool:
    """Whether it is a linear map that another may stand for, and nothing more."""
    return type(module) in (nn.Linear, Plain)


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A linear map with weights of variance 1/inputs and no offset at the start."""
    layer = Plain(inputs, outputs, bias=bias)
    nn.init.normal_(layer.weight, std=inputs**-0.5)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def stamp(x: Tensor) -> tuple[Any, ...]:
    """Another one when x is another tensor or has been written to; what is derived from x is remembered under it."""
    return x.data_ptr(), 0 if x.is_inference() else x._version, x.dtype, x.device
