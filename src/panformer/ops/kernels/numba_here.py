"""Where kernels written with numba can run: it compiles them when they are first called, with an LLVM of its own."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

FORMATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def lacks(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why none runs there."""
    if device.type != "cpu":
        return "not a CPU"
    if dtype not in FORMATS:
        return f"no code for {str(dtype).removeprefix('torch.')}"
    return None if _installed() else "numba is not installed: pip install 'panformer[fast]'"


def unseen(tensors: Iterable[Tensor | None]) -> str | None:
    """Why compiled code must not run though it could: it reads memory, so that nothing sees what it does to tensors."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return "a tracer cannot look inside"
    if _get_current_dispatch_mode() is not None or torch._C._functorch.maybe_current_level() is not None:
        return "operations are counted or transformed"
    plain = (Tensor, torch.nn.Parameter)
    return None if all(t is None or type(t) in plain for t in tensors) else "a kind of tensor without memory of its own"


@cache
def _installed() -> bool:
    return find_spec("numba") is not None
