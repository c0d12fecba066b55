"""two_sided and quasiseparable as two causal scans in blocks, one from either end: O(T) work and memory."""

from __future__ import annotations

from torch import Tensor

from ...core.layout import Layout
from ..attend import merge_heads, split_heads
from ..backend import Kernel
from ..falls import fallen
from ..reverse import reverse
from ..shift import shift
from . import linear_attention_blocks as blocks

Pair = tuple[Tensor, Tensor]


def refuses(*args: object) -> str | None:
    return None


def run_two_sided(q: Tensor, k: Tensor, v: Tensor, fall: Tensor | None, at: Layout) -> Tensor:
    if fall is None:
        return blocks.run(q, k, v, at, False, None)
    both = _scan(at, q, k, v, fall) + _turned(_scan(at, *(_turned(x, at) for x in (q, k, v, fall))), at)
    twice = at.clean((q * k).sum(-1).mT).mT  # the diagonal, of which either scan should have half
    return both - twice[..., None] * v


def run_quasiseparable(q: Pair, k: Pair, v: Pair, fall: Pair, at: Layout) -> Tensor:
    before = _later(_scan(at, q[0], k[0], v[0], fall[0]), at)
    after = _later(_scan(at, *(_turned(x[1], at) for x in (q, k, v, fall))), at)
    return before + _turned(after, at)


def _scan(at: Layout, q: Tensor, k: Tensor, v: Tensor, fall: Tensor) -> Tensor:
    """y_i = q_i S_i, S_i = e^(fall_i) S_{i-1} + k_i v_i'."""
    down = fallen(fall, at, False)
    return blocks.run(q, k, v, at, True, (down, down))


def _turned(x: Tensor, at: Layout) -> Tensor:
    """(B, H, T, ...) with every sequence in the other order."""
    return reverse(x.transpose(1, 2), at).transpose(1, 2)


def _later(y: Tensor, at: Layout) -> Tensor:
    """(B, H, T, V): every token's answer at the token after it."""
    return split_heads(at.clean(shift(merge_heads(y), at)), y.shape[1])


TWO_SIDED = Kernel("scans", refuses, run_two_sided)
QUASISEPARABLE = Kernel("scans", refuses, run_quasiseparable)
