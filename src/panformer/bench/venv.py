"""An environment of its own for the peers, so that what they pin disturbs nothing here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..core.errors import PanformerError

DONE = "installed.json"
INFERENCE = (  # what encoders and image classifiers are run with elsewhere, and what turns them into its files
    "torch==2.13.0", "transformers==5.23.0", "sentence-transformers==6.2.0", "openvino==2026.4.1", "nncf==3.4.0",
    "onnxruntime==1.31.1", "onnx==1.23.2", "onnxscript==0.7.2", "ctranslate2==4.8.5", "xllamacpp==2026.10.11549",
    "gguf==0.19.0",
)  # fmt: skip


def home() -> Path:
    """Where the environments of peers lie."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "panformer" / "peers"


def prepare(
    name: str, wants: Sequence[str], say: Callable[[str], None], alone: Sequence[str] = ()
) -> tuple[Path, dict[str, str]]:
    """(the python of the environment `name` with `wants` installed, why each of the others is not).

    What a run before installed is not installed again; what failed is tried again. `alone` come without what they ask
    for, where a part of them does with less.
    """
    folder = home() / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        say(f"making an environment for the peers in {folder}")
        _must([sys.executable, "-m", "venv", str(folder)], "no environment for the peers")
    record = folder / DONE
    have: list[str] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else []
    missing, bare = ([w for w in some if w not in have] for some in (wants, alone))
    failed: dict[str, str] = {}
    if missing or bare:
        say(f"installing {', '.join([*missing, *bare])}")
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        for batch in ([missing], [[w] for w in missing]) if missing else ():  # at once, so that they fit; else singly
            failed = {}
            for group in batch:
                why = _fault([*install, *group])
                failed |= {} if why is None else dict.fromkeys(group, why)
            if not failed:
                break
        for want in bare:
            why = _fault([*install, "--no-deps", want])
            failed |= {} if why is None else {want: why}
        missing += bare
        record.write_text(json.dumps(have + [w for w in missing if w not in failed]), encoding="utf-8")
    return python, failed


def _fault(command: Sequence[str]) -> str | None:
    """The last line that a failed command said, or None."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
    return (lines[-1] if lines else f"exit code {done.returncode}")[:300]


def _must(command: Sequence[str], otherwise: str) -> None:
    why = _fault(command)
    if why is not None:
        raise PanformerError(f"{otherwise}: {why}")
