"""Ctrl-C as a request: the step in hand is finished and saved, then the run stops."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from ..core.errors import PanformerError


class Interrupted(PanformerError):
    """Stopped by Ctrl-C or a polite kill; what was done is saved."""

    exit_code = 130


class Stopper:
    """`with Stopper() as stop:` turns SIGINT and SIGTERM into `stop.asked`; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopper:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
