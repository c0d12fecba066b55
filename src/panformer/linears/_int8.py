"""What linear maps in 8-bit integers share."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._dense import Codes, Joint, on_cpu, room, rows_of, stacked

ZERO = 128  # where 0 lies among the 8-bit numbers without a sign that oneDNN multiplies fast
TINY = 1e-30  # a row under this counts as zeros
FULL = torch.tensor(127.0, device="cpu")
NOTHING = torch.zeros(1, dtype=torch.int64, device="cpu")
ROOM = 1 << 20  # numbers worked on at a time
ROUND = 1.5 * 2**23  # fp32 numbers of this size are whole: to add it rounds, and leaves the result in the lowest bits


class EightBits(Codes):
    """s_r s_x round(x / s_x) . Q + b, with a scale of each row of x as it comes."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(outputs, inputs, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(outputs))
        self.codes: Tensor
        self.scale: Tensor
        self.bias = room(outputs, bias)
        self._row: tuple[Joint, Any] | None = None

    def take(self, plain: nn.Linear) -> None:
        self._hold(plain.weight.detach().float(), plain.bias)

    def _hold(self, w: Tensor, bias: nn.Parameter | None) -> None:
        self.scale = (w.abs().amax(1) / 127).clamp(min=1e-12)
        self.codes = (w / self.scale[:, None]).round().to(torch.int8)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        return self.together(x, (self,))[0]

    @classmethod
    def together(cls, x: Tensor, maps: Sequence[EightBits]) -> tuple[Tensor, ...]:
        """x is rounded once, and multiplied with all matrices at once."""
        flat = rows_of(x)
        if on_cpu(x) and not torch.is_grad_enabled():
            joint = maps[0].joint(maps)
            if len(flat) == 1 and row_product_is_exact():
                wide = flat if flat.dtype == torch.float32 else flat.float()
                top = wide.abs().amax(-1, keepdim=True)
                whole = wide.mul(FULL / top).round_()  # of a row of zeros anything, times 0 in the end
                out = _scaled(row_product(whole, maps[0].for_one_row(maps, joint)), top, joint, x.dtype)
            else:
                out = in_parts(flat, max(flat.shape[1], sum(joint.sizes)), lambda part: _answer(part, joint))
            return joint.apart(out, x)
        top = flat.detach().abs().amax(-1, keepdim=True).float()
        exact = flat * (FULL / top.clamp(min=TINY))
        whole = (exact.round() - exact).detach() + exact  # gradients pass the rounding
        outs = [F.linear(whole.float(), m.codes.float()) * (m.scale / 127) * top for m in maps]
        outs = [out if m.bias is None else out + m.bias.float() for out, m in zip(outs, maps, strict=True)]
        return tuple(out.to(x.dtype).view(*x.shape[:-1], -1) for out in outs)

    def sources(self) -> tuple[Tensor | None, ...]:
        return self._buffers["codes"], self.bias

    def for_one_row(self, maps: Sequence[EightBits], joint: Joint) -> Any:
        """The matrices in the order of FBGEMM, which is quicker there; packed when the first single row comes."""
        if self._row is None or self._row[0] is not joint:
            assert joint.scale is not None
            self._row = (joint, _packed_for_rows(torch.cat([m.codes for m in maps]), joint.scale))
        return self._row[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_row": None}

    @classmethod
    def arrange(cls, maps: Sequence[EightBits]) -> Joint:
        weight = torch.ops.onednn.qlinear_prepack(torch.cat([m.codes for m in maps]), None)
        sizes = [len(m.codes) for m in maps]
        scale = torch.cat([m.scale for m in maps]) / 127
        return Joint(weight, scale, stacked([m.bias for m in maps], sizes, scale), sizes)


def in_parts(x: Tensor, wide: int, call: Callable[[Tensor], Tensor]) -> Tensor:
    """call(x), a part of its rows at a time where `wide` numbers for each row would be more than `ROOM`: memory for them
    that is given back and asked for anew with each call costs more than the work on it."""
    parts = [call(part) for part in x.split(max(1, ROOM // wide))] if len(x) * wide > ROOM else [call(x)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _answer(x: Tensor, joint: Joint) -> Tensor:
    codes, top = _rounded(x)
    return _scaled(product(codes, joint.weight, joint.scale), top, joint, x.dtype)


def _scaled(out: Tensor, top: Tensor, joint: Joint, dtype: torch.dtype) -> Tensor:
    out = out.mul_(top) if joint.bias is None else torch.addcmul(joint.bias, out, top, out=out)
    return out if dtype == out.dtype else out.to(dtype)


def _rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    """((N, K) uint8 about ZERO, what 127 of them stand for (N, 1)), in few passes: torch's own way from floats to
    bytes is slow. Of a row of zeros the numbers may be anything."""
    wide = x if x.dtype == torch.float32 else x.float()
    top = torch.maximum(wide.amax(-1, keepdim=True), -wide.amin(-1, keepdim=True))  # writes no |x|
    codes = torch.mul(wide, FULL / top, out=None if wide is x else wide).add_(ROUND + ZERO)
    return codes.view(torch.int32).to(torch.uint8), top


def product(codes: Tensor, packed: Tensor, scale: Tensor | None) -> Tensor:
    """(N, K) uint8 about ZERO times the packed (K, M) int8, in fp32."""
    return torch.ops.onednn.qlinear_pointwise.default(
        codes, 1.0, ZERO, packed, scale, NOTHING, None, 1.0, 0, torch.float32, "none", [], ""
    )


def row_product(whole: Tensor, packed: Any) -> Tensor:
    """(1, K) whole numbers from -127 to 127 in fp32 times the packed (K, M) int8, in fp32."""
    return _row_product()(whole, 1.0, ZERO, packed)


@cache
def _row_product() -> Callable[..., Tensor]:
    """The operator itself: torch's wrapper looks at every argument first, which costs as much as a small product."""
    found: Any = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default
    return getattr(found, "_op", found)


@cache
def row_product_is_exact() -> bool:
    """Whether `row_product` adds up in 32 bits on this machine; without VNNI sums of two products overflow 16."""
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        return False
    largest = torch.full((1, 64), 127, dtype=torch.int8)
    got = row_product(torch.full((1, 64), 127.0), _packed_for_rows(largest, torch.ones(1)))
    return got.item() == 64 * 127 * 127


def _packed_for_rows(codes: Tensor, scale: Tensor) -> Any:
    zeros = torch.zeros(len(codes), dtype=torch.int64)
    with warnings.catch_warnings():  # FBGEMM takes no other kind of tensor
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
        matrix = torch._make_per_channel_quantized_tensor(codes, scale.double(), zeros, 0)
    return torch.ops.quantized.linear_prepack(matrix, None)
