"""What one operation below autograd costs: its arithmetic by its shapes, and the bytes it reads and writes."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.utils.flop_counter import flop_registry

FUSED = {  # operations per element of calls that do several things at once
    "_softmax": 5, "_log_softmax": 5, "native_layer_norm": 5, "native_group_norm": 5, "_fused_rms_norm": 4,
    "native_batch_norm": 5, "_native_batch_norm_legit": 5, "gelu": 5, "silu": 5, "sigmoid": 4, "tanh": 5,
}  # fmt: skip
MOVES = {  # data goes from one place to another
    "clone", "copy", "copy_", "_to_copy", "contiguous", "lift_fresh_copy", "cat", "stack", "index", "index_select",
    "gather", "embedding", "scatter", "scatter_", "index_put", "index_put_", "_index_put_impl_", "index_copy",
    "index_copy_", "constant_pad_nd", "roll", "flip", "repeat", "slice_scatter", "select_scatter", "fill", "fill_",
    "masked_fill", "masked_fill_", "where", "zero_", "tril", "triu", "im2col", "col2im", "repeat_interleave", "nonzero",
}  # fmt: skip
LOOKS_UP = {"index", "index_select", "gather", "embedding"}  # reads of its table only what it returns
SUMS_ROWS = {"_embedding_bag", "_embedding_bag_forward_only"}  # weighted sums of rows of a table, each looked up
WRITES_INTO = {"index_put_", "_index_put_impl_", "scatter_", "scatter_add_", "index_copy_", "index_add_"}
FOURIER = {"_fft_c2c": 1.0, "_fft_r2c": 0.5, "_fft_c2r": 0.5}  # a real side halves the work
ATTENTION = {"_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_attention_math"}


def flops(func: Any, args: Any, kwargs: Any, reads: list[Tensor], writes: list[Tensor], out: Any) -> float:
    """As `cost` counts them, of a call with these tensors read and written."""
    name, packet = func.overloadpacket.__name__, func.overloadpacket
    if name in ATTENTION:
        q, k, v = args[:3]
        return 2.0 * math.prod(q.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1])
    if packet in flop_registry:
        return flop_registry[packet](*args, **kwargs, out_val=out)
    if name in FOURIER:
        whole = max(reads + writes, key=lambda t: t.numel() if not t.is_complex() else 0)
        whole = whole if not whole.is_complex() else reads[0]
        n = math.prod(whole.shape[d] for d in args[1])
        return FOURIER[name] * 5 * whole.numel() * math.log2(n) if n > 1 else 0.0
    if name == "linalg_solve_triangular":
        return float(args[0].shape[-1] * args[1].numel())
    if name in SUMS_ROWS:
        return 2.0 * args[1].numel() * args[0].shape[1]
    if name in MOVES or not reads:
        return 0.0
    return FUSED.get(name.rstrip("_") if name not in FUSED else name, 1) * max(t.numel() for t in reads + writes)


def traffic(func: Any, args: Any, reads: list[Tensor], writes: list[Tensor]) -> int:
    """Bytes that a call reads and writes."""
    name = func.overloadpacket.__name__
    if name.startswith(("empty", "new_empty")):
        return 0
    written = sum(map(_size, writes))
    if name in LOOKS_UP:
        return 2 * written + sum(map(_size, reads[1:]))
    if name in SUMS_ROWS:
        return _size(writes[0]) + args[1].numel() * args[0].shape[1] * args[0].element_size()
    if name in WRITES_INTO:
        return 2 * sum(map(_size, reads[1:]))
    if name == "copy_":
        return 2 * _size(reads[-1])
    return sum(map(_size, reads)) + written


def tensors(tree: Any) -> list[Tensor]:
    """All tensors of an operation's arguments; a general walk of trees would take longer than the operation."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (tuple, list)):
        return []
    return [t for branch in tree for t in tensors(branch)]


def home(t: Tensor) -> int:
    """Names the memory behind a tensor; views share it."""
    return t.untyped_storage()._cdata


def _size(t: Tensor) -> int:
    """Bytes behind a tensor; one that is expanded holds less than it shows."""
    return min(t.numel() * t.element_size(), t.untyped_storage().nbytes())
