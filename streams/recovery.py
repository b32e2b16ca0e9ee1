"""Bringing a worker's disk up to its changelog before it judges anything.

Faust's own recovery takes each row through its event loop, never ends when the last rows were compacted away, and
passes over errors. This one reads with librdkafka, in a thread, to the end of each partition.
"""

import threading
import time
from collections.abc import Iterable

from streams.changelog import Reader
from streams.metrics import control as metrics
from streams.progress import Progress
from streams.tables import ExecutionTable


class Restoration:
    """Reads the changelog of some partitions to its end, from where the disk reaches. Runs in a thread."""

    def __init__(self, table: ExecutionTable, partitions: Iterable[int]) -> None:
        self._table = table
        self._partitions = list(partitions)
        self._cancelled = threading.Event()
        self.rows = 0

    def cancel(self) -> None:
        """Makes `run` return soon, with what it has read so far written."""
        self._cancelled.set()

    def run(self) -> None:
        """Returns when the disk holds what the changelog held when its end was seen. Raises Broken."""
        reader = self._table.reader()
        try:
            self._read(reader)
        finally:
            reader.close()

    def _read(self, reader: Reader) -> None:
        ends = {number: reader.end(number) for number in self._partitions}
        starts = {number: self._table.trusted_start(number, end) for number, end in ends.items()}
        behind = {number for number in ends if starts[number] < ends[number]}
        total = sum(ends[number] - starts[number] for number in behind)
        metrics.RECOVERY_REMAINING.set(total)
        metrics.RECOVERY_DONE.set(not behind)
        if not behind:
            return
        progress = Progress(f"restoring partitions {sorted(behind)}", total)
        reader.begin({number: starts[number] for number in behind})
        began = time.monotonic()
        while behind and not self._cancelled.is_set():
            found, ended = reader.read()
            for number, entries in found.items():
                self._table.restore(number, entries)
                self.rows += len(entries)
                metrics.RECOVERY_ROWS.inc(len(entries))
            behind -= ended
            remaining = sum(ends[number] - self._next(number) for number in behind)
            metrics.RECOVERY_REMAINING.set(remaining)
            metrics.RECOVERY_SECONDS.set(time.monotonic() - began)
            progress.show(self.rows, total - remaining)
        for number in starts:
            self._table.keep(number)
        metrics.RECOVERY_DONE.set(not behind)
        progress.end(self.rows, not behind)

    def _next(self, number: int) -> int:
        reached = self._table.reached(number)
        return 0 if reached is None else reached + 1
