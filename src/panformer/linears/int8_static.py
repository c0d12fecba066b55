"""A linear map in 8-bit integers whose inputs have steps that were found beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.part import Config as Base
from ..ops.activations import ACTIVATIONS, Activation
from ._dense import FUSED, Joint, Known, on_cpu, rows_of
from ._int8 import NOTHING, ROUND, TINY, EightBits, in_parts

TOP = 255  # the largest code
SHARE = 0.5  # how far steps follow the size of their input, in place of the weights: 0 is one step for all
MARGIN = 1.25  # codes reach this much farther than the sample did
LEAST = 1e-4  # of the largest input; no input is taken to be smaller


class Int8Static(EightBits):
    """s_r (clip(round(x / t) + z, 0, 255) - z) . Q + b, with a step t of each input and a code z of 0 for all x.

    Q and s_r are those of `int8` for W t. `fit` sets steps and z by the least and the largest number that each input
    had on a sample: t_j = c max|x_j|^0.5, so that neither an input that is often large nor the weights after it take
    up all codes, with c such that they reach a quarter farther than the sample. What is beyond is cut off. Nothing is
    looked for in a row, rounding is one step, and an activation happens within the product. Until `fit` was called
    rows are rounded as by `int8`. Jacob et al. 2017; Xiao et al. 2022, SmoothQuant, for the steps.
    """

    paper = "Xiao et al. 2022, SmoothQuant: Accurate and efficient post-training quantization for large language models"
    fuses = frozenset(FUSED)
    fits = True
    exact = ("scale", "steps", "zero")

    class Config(Base):
        pass

    def __init__(self, c: Config, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self.register_buffer("steps", torch.zeros(inputs))  # 0 until they are known
        self.register_buffer("zero", torch.zeros(()))
        self.steps: Tensor
        self.zero: Tensor

    def fit(self, plain: nn.Linear, low: Tensor, high: Tensor) -> None:
        low, high = (t.to(self.steps) for t in (low, high))
        size = torch.maximum(low.abs(), high.abs())
        size = size.clamp(min=max(LEAST * float(size.max()), 1e-12)) ** SHARE
        least, most = min(MARGIN * float((low / size).min()), 0.0), max(MARGIN * float((high / size).max()), 0.0)
        unit = max(most - least, 1e-12) / TOP
        self.steps, self.zero = size * unit, torch.tensor(float(round(-least / unit)), device=size.device)
        self._hold(plain.weight.detach().float() * self.steps, plain.bias)

    def take(self, plain: nn.Linear) -> None:
        super().take(plain)
        self.steps = torch.zeros_like(self.steps)

    def fused(self, x: Tensor, activation: Activation) -> Tensor:
        joint = _joint((self,), x)
        if joint is None or joint.inputs is None or activation not in FUSED:
            return ACTIVATIONS[activation](self(x))
        return joint.apart(_product(x, joint, activation), x)[0]

    @classmethod
    def together(cls, x: Tensor, maps: Sequence[Any]) -> tuple[Tensor, ...]:
        """Maps that were fitted to one input round it once, and are one product."""
        joint = _joint(maps, x)
        if joint is None:
            return tuple(m._slow(x) for m in maps)
        if joint.inputs is not None:
            return joint.apart(_product(x, joint, "identity"), x)
        if any(bool(m.steps.any()) for m in maps):  # fitted to different inputs
            return tuple(m(x) for m in maps)
        return super().together(x, maps)

    def _slow(self, x: Tensor) -> Tensor:
        """Operations that a program for all weights may be made of."""
        told, wide = self.steps.any(), x.float()
        row = wide.detach().abs().amax(-1, keepdim=True).clamp(min=TINY) / 127  # as `int8` has it
        exact = wide / torch.where(told, self.steps, row)
        least = torch.where(told, -self.zero, -127.0)
        whole = torch.minimum(torch.maximum(exact.round(), least), least + TOP)
        whole = (whole - exact).detach() + exact  # gradients pass the rounding
        out = F.linear(whole, self.codes.float()) * self.scale * torch.where(told, 1.0, row)
        return (out if self.bias is None else out + self.bias.float()).to(x.dtype)

    def sources(self) -> tuple[Tensor | None, ...]:
        return *super().sources(), self._buffers["steps"], self._buffers["zero"]

    @classmethod
    def arrange(cls, maps: Sequence[Any]) -> Joint:
        first = maps[0]
        alike = all(torch.equal(first.steps, m.steps) and torch.equal(first.zero, m.zero) for m in maps[1:])
        joint = super().arrange(maps)
        if not alike or not bool(first.steps.any()):
            return joint
        zero = int(first.zero)
        return joint._replace(inputs=Known(1 / first.steps, torch.full_like(first.steps, ROUND + zero), zero))


def _joint(maps: Sequence[Int8Static], x: Tensor) -> Joint | None:
    """The matrices, where oneDNN may serve the call."""
    return maps[0].joint(maps) if on_cpu(x) and not torch.is_grad_enabled() else None


def _product(x: Tensor, joint: Joint, activation: Activation) -> Tensor:
    """act(W x + b): (..., K) -> (N, M)."""
    known = joint.inputs
    assert known is not None
    codes = in_parts(rows_of(x), x.shape[-1], lambda part: _coded(part, known))
    name, kind = FUSED[activation]
    return torch.ops.onednn.qlinear_pointwise.default(
        codes, 127.0, known.zero, joint.weight, joint.scale, NOTHING, joint.bias, 1.0, 0, x.dtype, name, [], kind
    )


def _coded(x: Tensor, known: Known) -> Tensor:
    """(N, K) -> (N, K) uint8."""
    wide = x if x.dtype == torch.float32 else x.float()
    whole = torch.addcmul(known.shift, wide, known.inverse, out=None if wide is x else wide)
    return whole.clamp_(ROUND, ROUND + TOP).view(torch.int32).to(torch.uint8)
