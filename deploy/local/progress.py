"""What the local stack tells the person who waits for it."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol


class Progress(Protocol):
    """Where the stack's steps are shown."""

    def say(self, message: str) -> None:
        """One finished or beginning step."""

    def transfer(self, done: int, total: int) -> None:
        """Bytes fetched so far of all that is to be fetched; `done == total` ends it."""


class Silent:
    """Shows nothing: for tests and for callers with a display of their own."""

    def say(self, message: str) -> None:
        del message

    def transfer(self, done: int, total: int) -> None:
        del done, total


class Console:
    """Lines on stderr; a bar for transfers on a terminal, a line every five seconds elsewhere."""

    LINE_EVERY_S = 5.0

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._said_at = time.monotonic()

    def say(self, message: str) -> None:
        self._close()
        print(message, file=sys.stderr, flush=True)

    def transfer(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            self._draw(done, total)
        elif done >= total or time.monotonic() - self._said_at > self.LINE_EVERY_S:
            self._said_at = time.monotonic()
            print(f"  {done / 1e6:.0f} of {total / 1e6:.0f} MB", file=sys.stderr, flush=True)

    def _draw(self, done: int, total: int) -> None:
        if self._bar is None:
            from rich.console import Console as RichConsole
            from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
            from rich.progress import Progress as RichProgress

            columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
            self._bar = RichProgress(*columns, console=RichConsole(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=total)
        self._bar.update(self._task, completed=done)
        if done >= total:
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
