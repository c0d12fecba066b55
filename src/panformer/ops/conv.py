"""y_t = bias + sum_k w_k x_{t+k-left} for every channel alone, within the sequence of token t.

Sequences are laid out with gaps of zeros between them, so one dense convolution serves packed and padded
rows: nothing passes from one sequence to the next, and the cost stays linear in the tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.layout import Layout, exporting

TILE = 64  # tokens of one product in the gradient of a kernel
BAND = 8  # shorter kernels, or heads with fewer channels, are no work for a product
LONG = 256  # tokens under which whole tiles would be mostly padding


def reference(x: Tensor, weight: Tensor, bias: Tensor | None, at: Layout, left: int) -> Tensor:
    """x (B, T, D), weight (D, K), bias (D,) -> (B, T, D). Token by token, from the formula."""
    out = torch.zeros_like(x)
    size = weight.shape[1]
    for row in range(at.batch):
        for ordinal in at.ordinal[row].unique().tolist():
            if ordinal < 0:
                continue
            here = (at.ordinal[row] == ordinal).nonzero()[:, 0].tolist()
            for i, t in enumerate(here):
                near = [(k, i + k - left) for k in range(size) if 0 <= i + k - left < len(here)]
                y = sum((weight[:, k] * x[row, here[j]] for k, j in near), torch.zeros_like(x[row, t]))
                out[row, t] = y if bias is None else y + bias
    return out


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, at: Layout, left: int) -> Tensor:
    """As `reference`. `left` = K - 1 looks only back, K // 2 to both sides."""
    gap = max(left, weight.shape[1] - 1 - left)
    return from_gaps(_convolve(to_gaps(x, at, gap), weight, bias), at, gap - left, gap)


def headwise(x: Tensor, weight: Tensor, at: Layout, left: int) -> Tensor:
    """`depthwise` where all channels of a head have one kernel. x (B, T, H*E), weight (H, K)."""
    heads, size = weight.shape
    wide = x.shape[2] // heads
    if exporting() or size < BAND or wide < BAND or at.length < LONG:
        return depthwise(x, weight.repeat_interleave(wide, 0), None, at, left)
    gap = max(left, size - 1 - left)
    return from_gaps(_Headwise.apply(to_gaps(x, at, gap), weight), at, gap - left, gap)


def depthwise_chunk(x: Tensor, weight: Tensor, bias: Tensor | None, at: Layout, past: Tensor) -> tuple[Tensor, Tensor]:
    """The causal form for the next tokens of B sequences, padding anywhere.

    past (B, K-1, D): the last valid tokens so far, zeros where there were fewer -> (y (B, T, D), past).
    """
    back = weight.shape[1] - 1
    line, place = lined(x, at, past)
    y = _convolve(line, weight, bias)
    if place is None:
        return y, line[:, line.shape[1] - back :]
    newest = at.valid.sum(1, keepdim=True) + torch.arange(back, device=x.device)
    return at.clean(pick(y, place)), pick(line, newest)


def lined(x: Tensor, at: Layout, past: Tensor) -> tuple[Tensor, Tensor | None]:
    """The tokens of B sequences so far, past (B, P, D), and then the new ones x (B, T, D) without what is padding.

    -> (line (B, P + T, D), zeros after the last token of a row; where x stands in line[:, P:] (B, T), None: in order).
    """
    if at.full:
        return torch.cat([past, x], 1), None
    place = torch.where(at.valid, at.valid.cumsum(1) - 1, at.length)  # one place more, which takes all padding
    line = torch.cat([past, x.new_zeros(x.shape[0], at.length + 1, x.shape[2])], 1)
    line = line.scatter(1, (place + past.shape[1])[..., None].expand_as(x), x)[:, :-1]
    return line, torch.where(at.valid, place, 0)


def to_gaps(x: Tensor, at: Layout, gap: int, fill: float = 0.0) -> Tensor:
    """(B, T, D) -> (B, L, D): every sequence between `gap` places of `fill`, padding left out."""
    if at.full:
        return F.pad(x, (0, 0, gap, gap), value=fill)
    if at.single:
        return F.pad(x.masked_fill(~at.valid[..., None], fill), (0, 0, gap, gap), value=fill)
    place, length = _places(at, gap)
    tokens = at.derive("tokens", lambda: at.valid.flatten().nonzero()[:, 0])
    target = at.derive(("gap target", gap), lambda: _flat(place, length).index_select(0, tokens))
    out = x.new_full((at.batch * length, x.shape[2]), fill)
    out = out.index_copy(0, target, x.flatten(0, 1).index_select(0, tokens))
    return out.unflatten(0, (at.batch, length))


def from_gaps(x: Tensor, at: Layout, lead: int, gap: int) -> Tensor:
    """(B, L, D) -> (B, T, D): back from `to_gaps` with `gap`, where the first sequence now starts at `lead`."""
    if at.full:
        return x[:, lead : lead + at.length]
    if at.single:
        return at.clean(x[:, lead : lead + at.length])
    return at.clean(pick(x, torch.where(at.valid, _places(at, gap)[0] + lead - gap, 0)))


def pick(x: Tensor, where: Tensor) -> Tensor:
    """x (B, L, D), where (B, T) -> (B, T, D): row b holds x[b, where[b]]."""
    return x.flatten(0, 1).index_select(0, _flat(where, x.shape[1])).unflatten(0, where.shape)


def _flat(where: Tensor, length: int) -> Tensor:
    """(B, T) places in rows of `length` -> (B * T,) places in all rows one after the other."""
    return (where + torch.arange(where.shape[0], device=where.device)[:, None] * length).flatten()


def _places(at: Layout, gap: int) -> tuple[Tensor, int]:
    """(B, T) place of each token in its row once every sequence has `gap` places around it, and the row's length."""

    def make() -> tuple[Tensor, int]:
        place = at.valid.cumsum(1) - 1 + gap * at.starts.cumsum(1)
        return place, int(place.max()) + 1 + gap

    return at.derive(("gaps", gap), make)


def _convolve(line: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(B, L, D) -> (B, L - K + 1, D)."""
    y = _slide(line, weight) if exporting() else _Slide.apply(line, weight)
    return y if bias is None else y + bias


class _Slide(torch.autograd.Function):
    """The convolution with a gradient written out, 2 to 4 times as fast on a CPU as torch's for groups of one."""

    @staticmethod
    def forward(ctx: Any, line: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(line, weight)
        return _slide(line, weight)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
        line, weight = ctx.saved_tensors
        size, length = weight.shape[1], g.shape[1]
        to_line = to_weight = None
        if ctx.needs_input_grad[0]:
            to_line = _Slide.apply(F.pad(g, (0, 0, size - 1, size - 1)), weight.flip(1))
        if ctx.needs_input_grad[1]:
            to_weight = torch.stack([(line[:, k : k + length] * g).sum((0, 1)) for k in range(size)], 1)
        return to_line, to_weight


def _slide(line: Tensor, weight: Tensor) -> Tensor:
    """As an image of one row with channels last: 2 to 4 times a conv1d's speed."""
    image = line[:, None].permute(0, 3, 1, 2)
    return F.conv2d(image, weight[:, None, None], groups=weight.shape[0])[:, :, 0].transpose(1, 2)


class _Headwise(torch.autograd.Function):
    """The convolution with one kernel per head. The sums over all tokens that a kernel's gradient needs are diagonals
    of one product of tiles of tokens, whose channels are its columns, in place of a pass for each number of a kernel."""

    @staticmethod
    def forward(ctx: Any, line: Tensor, weight: Tensor) -> Tensor:
        """line (B, L, H*E), weight (H, K) -> (B, L - K + 1, H*E)."""
        ctx.save_for_backward(line, weight)
        return _slide(line, weight.repeat_interleave(line.shape[2] // len(weight), 0))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
        line, weight = ctx.saved_tensors
        heads, size = weight.shape
        to_line = to_weight = None
        if ctx.needs_input_grad[0]:
            to_line = _Headwise.apply(F.pad(g, (0, 0, size - 1, size - 1)), weight.flip(1))
        if ctx.needs_input_grad[1]:
            answers, read = (_tiles(x.unflatten(2, (heads, -1)), k) for x, k in ((g, 1), (line, size)))
            band = torch.bmm(answers, read.mT)  # (H, TILE, TILE + K - 1)
            band = F.pad(band.flatten(1), (0, TILE)).unflatten(1, (TILE, TILE + size))  # diagonals become columns
            to_weight = band[..., :size].sum(1)
        return to_line, to_weight


def _tiles(x: Tensor, size: int) -> Tensor:
    """(B, L, H, E) -> (H, TILE + size - 1, B * tiles * E): the tokens that each tile of L - size + 1 answers reads."""
    wide = TILE + size - 1
    x = F.pad(x, (0, 0, 0, 0, 0, -(x.shape[1] - size + 1) % TILE))
    return x.unfold(1, wide, TILE).permute(2, 4, 0, 1, 3).flatten(2)
