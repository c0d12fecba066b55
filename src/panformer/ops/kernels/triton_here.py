"""Where kernels written in Triton can run."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

import torch

FORMATS = (torch.float32, torch.bfloat16, torch.float16)


def lacks(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why none runs there. With TRITON_INTERPRET=1 Triton runs them on a CPU, slowly, which tests are for."""
    if torch.compiler.is_compiling():
        return "torch.compile cannot look inside"
    if dtype not in FORMATS:
        return f"{str(dtype).removeprefix('torch.')}: sums are kept in float32 here"
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return "not a CUDA device"
    return None if _installed() else "triton is not installed: pip install 'panformer[gpu]'"


@cache
def _installed() -> bool:
    return find_spec("triton") is not None
