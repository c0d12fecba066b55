"""What a person sees while a run works: one live line with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any


class Progress:
    """`with Progress(minutes) as progress: progress.say("...")`. Everything goes to stderr.

    Without minutes, whoever says something says how much of the work is done.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self.total, self.began = 60.0 if minutes is None else 60 * max(0.0, minutes), time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (
                BarColumn(30),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                TextColumn("{task.description}"),
            )
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=self.total, left="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def spent(self) -> float:
        """Seconds of this sitting."""
        return time.monotonic() - self.began

    def say(self, line: str, done: float | None = None) -> None:
        """Tell that a unit of work is finished; `done` is the share of the whole, where the minutes do not say it."""
        if done:
            self.total = self.spent / done
        left = max(0.0, self.total - self.spent)
        told = f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left"
        if self._bar is None:
            print(f"[{self.spent:4.0f} s, {told}] {line}", file=sys.stderr, flush=True)
            return
        self._bar.update(self._task, completed=min(self.spent, self.total), left=told, description=line[:80])
        self._bar.console.print(f"[dim]{self.spent:4.0f} s[/dim] {line}", highlight=False)
