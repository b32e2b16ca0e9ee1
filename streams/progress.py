"""How far a long piece of work is: a bar where a person watches, else a line every few seconds."""

import logging
import sys
import time
from typing import TextIO

log = logging.getLogger("mandate.control")
_LINE_EVERY_S = 5.0
_BAR_EVERY_S = 0.2
_WIDTH = 30


class Progress:
    """One piece of work. done and total may count more than rows do: offsets that compaction removed."""

    def __init__(self, what: str, total: int, out: TextIO | None = None) -> None:
        self._what = what
        self._total = max(total, 1)
        self._out = out or sys.stderr
        self._bar = self._out.isatty() and log.isEnabledFor(logging.INFO)
        self._began = self._shown = time.monotonic()
        self._every_s = _BAR_EVERY_S if self._bar else _LINE_EVERY_S
        log.info("%s: %d changelog records at most", what, total)

    def show(self, rows: int, done: int) -> None:
        """Shows it when it is time to."""
        now = time.monotonic()
        if now - self._shown < self._every_s:
            return
        self._shown = now
        text = f"{rows:,} rows, {rows / (now - self._began):,.0f}/s"
        if self._bar:
            self._out.write(f"\r{bar(done / self._total)} {text} \x1b[K")
            self._out.flush()
        else:
            log.info("%s: %3.0f %%, %s", self._what, 100 * done / self._total, text)

    def end(self, rows: int, complete: bool) -> None:
        """Says how long it took."""
        took = time.monotonic() - self._began
        if self._bar:
            self._out.write("\r\x1b[K")
        said = "restored" if complete else "gave up restoring after"
        log.info("%s %d rows in %.1f s (%.0f/s)", said, rows, took, rows / max(took, 1e-6))


def bar(share: float) -> str:
    """A bar of a share between 0 and 1."""
    full = round(_WIDTH * min(max(share, 0.0), 1.0))
    return f"[{'#' * full}{'.' * (_WIDTH - full)}] {100 * min(max(share, 0.0), 1.0):3.0f} %"
