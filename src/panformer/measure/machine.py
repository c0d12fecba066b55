"""The machine and the versions behind a measurement: without them a number cannot be repeated."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..core.memory import installed

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "lightgbm", "optuna", "safetensors")


def machine() -> dict[str, Any]:
    """Processor, cores, threads that torch uses, memory and system."""
    import torch

    return {
        "cpu": _cpu(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "memory_gb": _memory(),
        "system": f"{platform.system()} {platform.machine()}", "device": "cpu",
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Of python, panformer and every package that decides a result; absent ones are left out."""
    from .. import __version__

    found = {"python": platform.python_version(), "panformer": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _memory() -> float | None:
    try:
        return round(installed() / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None
