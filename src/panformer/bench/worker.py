"""Peers in processes of their own: a script in the peers' environment that is asked in JSON lines and answers in them."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}  # what `keep_freed` does for our own process
HIDDEN = ("PYTHONPATH", "PYTHONHOME")  # a peer must not see our packages


class PeerFault(Exception):
    """A peer could not do what it was asked for; the message is one line."""


class Worker:
    """One peer's process. Closed at the end of a `with`."""

    def __init__(self, python: Path, script: Path, threads: int, patience: float = 1800) -> None:
        env = {k: v for k, v in os.environ.items() if k not in HIDDEN}
        env |= dict.fromkeys(THREADS, str(threads)) | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"} | KEPT
        self.patience = patience
        self.said = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [str(python), str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, env=env
        )
        _first_to_go(self.process.pid)
        self.lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, **request: Any) -> dict[str, Any]:
        """What the peer answers. Errors: PeerFault if it fails, ends, or takes longer than `patience` seconds."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise PeerFault(self._last_words()) from None
        try:
            line = self.lines.get(timeout=self.patience)
        except queue.Empty:
            self.process.kill()
            raise PeerFault(f"no answer within {self.patience:.0f} s") from None
        if not line:
            raise PeerFault(self._last_words())
        answer = json.loads(line)
        if "error" in answer:
            raise PeerFault(answer["error"])
        return answer

    def close(self) -> None:
        if self.process.stdin is not None and not self.process.stdin.closed:
            try:
                self.process.stdin.close()
            except OSError:
                pass
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.said.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(b"")

    def _last_words(self) -> str:
        self.process.wait()
        self.said.seek(0)
        lines = self.said.read().decode("utf-8", "replace").strip().splitlines()
        return f"ended with code {self.process.returncode}: {lines[-1] if lines else 'no message'}"[:300]


def _first_to_go(pid: int) -> None:
    """Where memory runs out, Linux ends this process before ours."""
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text("900")
    except OSError:
        pass
