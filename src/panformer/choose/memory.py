"""Peak memory of an answer: how far a fresh process grows from before the model is read until it has answered.

`python -m panformer.choose.memory ROWS THREADS FOLDER...` prints megabytes, one line per folder. One process loads the
libraries and forks for each model; each fork answers one row, gives its memory back, and only then counts: what is
left is the model and its work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from ..core.errors import PanformerError, writing
from ..core.memory import give_back, peak, peak_from_here

CALLS = 3


def peaks_mb(folders: list[Path], x: Tensor, lengths: Tensor | None, scratch: Path) -> list[float]:
    """MB that answering these rows takes with each model, every one measured in a process of its own."""
    rows = scratch / "rows.safetensors"
    with writing(rows):
        rows.write_bytes(save({"x": x.contiguous()} | ({} if lengths is None else {"lengths": lengths})))
    call = [
        sys.executable,
        "-m",
        "panformer.choose.memory",
        str(rows),
        str(torch.get_num_threads()),
        *map(str, folders),
    ]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=300, check=False)
    finally:
        rows.unlink()
    if done.returncode:
        raise PanformerError(
            f"peak memory could not be measured: {(done.stderr.strip().splitlines() or ['no word'])[-1]}"
        )
    return [float(json.loads(line)["mb"]) for line in done.stdout.splitlines()]


def _measure(folder: str, rows: str) -> float:
    from .saved import read

    given = load_file(rows)
    x, lengths = given["x"], given.get("lengths")
    with torch.inference_mode():
        read(folder).model(x[:1], None if lengths is None else lengths[:1])  # loads what libraries load at first use
        give_back()
        before = peak_from_here()
        model = read(folder).model
        for _ in range(CALLS):
            model(x, lengths)
    return max(0.0, (peak() - before) / 1e6)


def _in_child(folder: str, rows: str) -> None:
    """Measure in a fork, before torch has started any thread here, and print the number."""
    child = os.fork()
    if not child:
        print(json.dumps({"mb": _measure(folder, rows)}), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise PanformerError(f"{folder}: could not be measured")


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    if any((Path(f) / "model.txt").is_file() for f in sys.argv[3:]):
        import lightgbm  # noqa: F401
    from . import plain  # noqa: F401

    for name in sys.argv[3:]:
        _in_child(name, sys.argv[1])
