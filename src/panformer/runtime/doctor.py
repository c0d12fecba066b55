"""What this machine and installation have, and what is missed without the rest."""

from __future__ import annotations

import importlib.util
import os
import shutil
import warnings
from pathlib import Path
from typing import NamedTuple

import torch

from ..ops.backend import operators

UNITS = {  # flags of a processor: what they are good for
    "avx512f": "wide vectors: fp32 at full speed",
    "avx512_vnni": "8-bit products: int8 maps",
    "amx_bf16": "bf16 matrix units: bf16 is about three times faster than fp32",
    "amx_int8": "int8 matrix units",
}
EXTRAS = {  # a package of each extra: what is missed without it
    "choose": ("optuna", "panformer choose"),
    "hf": ("transformers", "the bridge to transformers, GGUF files"),
    "export": ("onnxruntime", "panformer export"),
    "serve": ("fastapi", "serving"),
    "gpu": ("triton", "kernels for a GPU"),
    "fast": ("numba", "kernels compiled for this processor: Mamba"),
}
FORMATS = (torch.float32, torch.bfloat16)


class Finding(NamedTuple):
    name: str
    there: bool
    about: str


def findings() -> list[Finding]:
    """Processor, compiler, accelerator and extras, each with what it brings or what is missed."""
    flags = _flags()
    cores, threads = os.cpu_count() or 1, torch.get_num_threads()
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    rows = [
        Finding("torch", True, f"{torch.__version__}, {threads} of {cores} cores"),
        Finding("threads", threads <= cores, "no more threads than cores, or all are slowed down"),
        Finding("oneDNN", torch.backends.mkldnn.is_available(), "pre-packed and 8-bit linear maps on the CPU"),
        *(Finding(unit, unit in flags, about) for unit, about in UNITS.items()),
        Finding("C++ compiler", compiler is not None, "only torch.compile needs it: compiled training steps"),
        Finding("CUDA", torch.cuda.is_available(), "a GPU makes everything faster; nothing needs one"),
    ]
    rows += [_kernels(torch.device("cpu"))]
    rows += [_kernels(torch.device("cuda", i)) for i in range(torch.cuda.device_count())]
    for extra, (package, about) in EXTRAS.items():
        there = importlib.util.find_spec(package) is not None
        rows.append(Finding(f"[{extra}]", there, about if there else f"{about}: pip install 'panformer[{extra}]'"))
    return rows


def _kernels(device: torch.device) -> Finding:
    """Which kernels give their references' answers and gradients on a device, tried now on small inputs."""
    passed: list[str] = []
    told: list[str] = []
    for operator in operators():
        for kernel in operator.kernels:
            name = f"{operator.name}:{kernel.name}"
            why = next((why for d in FORMATS if (why := kernel.lacks(device, d))), None)
            if why is not None:
                told.append(f"{name} not here ({why})")
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # said below
                faults = [operator.check(kernel, device, d, True).fault for d in FORMATS]
            bad = next((f"{name} left out, {fault}" for fault in faults if fault), None)
            passed += [] if bad else [name]
            told += [bad] if bad else []
    good = not any("left out" in line for line in told)
    return Finding(f"kernels, {device}", good, "; ".join([f"checked: {', '.join(passed)}", *told]))


def _flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())
