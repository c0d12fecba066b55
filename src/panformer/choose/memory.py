"""Peak memory of an answer: how far a fresh process grows from before the model is read until it has answered.

`python -m panformer.choose.memory FOLDER ROWS` prints megabytes. Libraries are loaded and warmed before, so that
what is counted is the model, its input and its work; pages that the process holds already are not counted twice.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..core.errors import PanformerError

CALLS = 3


def peak_mb(folder: Path, x: Tensor, lengths: Tensor | None, scratch: Path) -> float:
    """MB that answering these rows takes, measured in a process of its own."""
    rows = scratch / "rows.safetensors"
    save_file({"x": x.contiguous()} | ({} if lengths is None else {"lengths": lengths}), rows)
    call = [sys.executable, "-m", "panformer.choose.memory", str(folder), str(rows), str(torch.get_num_threads())]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False)
    rows.unlink()
    if done.returncode:
        raise PanformerError(f"{folder}: peak memory could not be measured ({done.stderr.strip().splitlines()[-1:]})")
    return float(json.loads(done.stdout)["mb"])


def _measure(folder: str, rows: str) -> float:
    from .saved import read

    torch.nn.functional.linear(torch.zeros(64, 64), torch.zeros(64, 64))  # threads and buffers of the libraries
    baseline = "baseline" in json.loads((Path(folder) / "config.json").read_text())
    if baseline:
        from . import plain  # noqa: F401
        if (Path(folder) / "model.txt").is_file():
            import lightgbm  # noqa: F401
    before = _reset()
    given = load_file(rows)
    model = read(folder).model
    with torch.inference_mode():
        for _ in range(CALLS):
            model(given["x"], given.get("lengths"))
    return max(0.0, (_peak() - before) / 1e6)


def _reset() -> int:
    """Bytes held now; where the system can, the peak starts anew from here."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return _peak()


def _peak() -> int:
    try:
        return _status("VmHWM")
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    print(json.dumps({"mb": _measure(sys.argv[1], sys.argv[2])}))
