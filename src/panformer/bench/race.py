"""Contestants timed in turn, round after round, so that a drifting machine disturbs all of them alike."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PACKAGES = ("panformer", "torch", "numpy", "transformers", "triton")

Runner = Callable[[], float]  # runs once and says how many seconds it took


@dataclass(frozen=True)
class Time:
    """Seconds of one call: the median of the rounds, and how far they spread."""

    median: float
    best: float
    worst: float
    rounds: int


def timed(call: Callable[[], Any], calls: int = 1) -> Runner:
    """A runner of something in this process; seconds per call."""

    def run() -> float:
        _sync()
        began = time.perf_counter()
        for _ in range(calls):
            call()
        _sync()
        return (time.perf_counter() - began) / calls

    return run


def relay(runners: Mapping[str, Runner], rounds: int = 7, pause: float = 0.0) -> dict[str, Time]:
    """Every runner once a round, in turn and in turned order, after one uncounted round.

    `pause` seconds before each let the threads of the one before go to sleep; a pass that is shorter then runs a second
    time, which counts: the first may wait for a core to wake, in this process longer than in one that is asked by another.
    Errors of a runner pass through.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(rounds + 1):
        for name in list(runners)[:: 1 if turn % 2 else -1]:
            time.sleep(pause)
            took = runners[name]()
            if took < pause:
                took = runners[name]()
            if turn:
                seconds[name].append(took)
    return {n: Time(statistics.median(s), min(s), max(s), rounds) for n, s in seconds.items()}


def race(runners: Mapping[str, Callable[[], Any]], rounds: int = 7, calls: int = 1) -> dict[str, Time]:
    """`relay` of things in this process, each called `calls` times a round; seconds per call."""
    return relay({name: timed(call, calls) for name, call in runners.items()}, rounds)


def matmul_rate(dtype: torch.dtype, device: str = "cpu") -> float:
    """Operations per second of a matrix product on this machine: the ceiling the figures are held against.

    On a CPU the faster of torch's plain product and oneDNN's with a pre-packed matrix (on AMD processors the first uses
    half of their vector units in fp32); in int8 oneDNN's of a uint8 and a pre-packed int8 matrix.
    """
    size = 1536 if device == "cpu" else 8192
    calls: dict[str, Callable[[], Any]] = {}
    if dtype == torch.int8:
        calls["packed"] = _whole_product(size)
    else:
        a, b = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
        calls["plain"] = lambda: a @ b
        if device == "cpu" and torch.backends.mkldnn.is_available():
            calls["packed"] = _packed_product(a)
    return 2 * size**3 / min(took.best for took in race(calls, rounds=5, calls=2).values())


def memory_rate() -> float:
    """Bytes per second that this machine reads: a matrix of 256 MB times a vector."""
    matrix, vector = torch.ones(8192, 8192), torch.ones(8192)
    return 4 * 8192**2 / race({"product": lambda: torch.mv(matrix, vector)}, rounds=7).pop("product").best


def machine() -> dict[str, Any]:
    """What the figures belong to."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write(path: Path, result: Mapping[str, Any]) -> None:
    """A result file, with the machine it was measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tree = {**result, "machine": machine()}
    path.write_text(json.dumps(tree, indent=2, default=asdict) + "\n", encoding="utf-8")


def _packed_product(x: Tensor) -> Callable[[], Tensor]:
    from ..linears.packed import Packed

    map_ = Packed(Packed.Config(), x.shape[1], x.shape[1], bias=False).to(x.dtype).eval()
    return torch.inference_mode()(lambda: map_(x))


def _whole_product(size: int) -> Callable[[], Tensor]:
    from ..linears._int8 import product

    codes = torch.randint(1, 255, (size, size), dtype=torch.uint8)
    packed = torch.ops.onednn.qlinear_prepack(torch.randint(-127, 127, (size, size), dtype=torch.int8), None)
    return lambda: product(codes, packed, torch.ones(size))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    units = [u for u in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8") if u in flags]
    return f"{named[0] if named else platform.machine()} ({', '.join(units)})"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _sync() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
