"""Warm copies of partitions that others own: a takeover of one reads the end of the changelog, not all of it.

A copy is what a restoration makes, by the same rules (`streams.owners`), in the same directory; nobody judges by it.
Copying yields to judging: it reads a little, then pauses for at least as long as that took.
Tests: `tests/topology/test_standby.py`, `tests/faults/test_rebalance.py`.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterable

from streams import Broken, end_process
from streams.changelog import Reader
from streams.metrics import control as metrics
from streams.tables import ExecutionTable

log = logging.getLogger("mandate.control")
_PAUSE_S = 0.02
_AGAIN_S = 5.0


class Standby:
    """Follows the changelog of some partitions until it is told to end."""

    def __init__(self, table: ExecutionTable, partitions: Iterable[int]) -> None:
        self._table = table
        self._partitions = sorted(partitions)
        self._cancelled = threading.Event()
        self._at_rest = threading.Event()
        self._work: asyncio.Future[None] | None = None
        self.rows = 0
        self.next: dict[int, int] = {}
        """Changelog offset to copy next, by partition."""

    def start(self) -> None:
        """Begins, in a thread. A cluster that can't be read is tried again; another failure ends the process."""
        if self._partitions:
            self._work = asyncio.ensure_future(asyncio.to_thread(self._run))

    async def stop(self) -> None:
        """Returns when nothing of it touches the disk any more; what was copied stays, with the offset it reaches."""
        self._cancelled.set()
        if self._work is not None:
            # Not for the thread's end: closing its reader takes time, and partitions wait meanwhile.
            await asyncio.to_thread(self._at_rest.wait)

    def _run(self) -> None:
        while not self._cancelled.is_set():
            try:
                self.follow()
            except Broken as error:
                # Nobody judges by a copy, so what is judged here need not suffer for it.
                log.warning("copies of partitions %s are not kept for now: %s", self._partitions, error)
                self._cancelled.wait(_AGAIN_S)
            except Exception as error:
                end_process(error)
        self._at_rest.set()

    def follow(self) -> None:
        """Copies until it is cancelled."""
        reader = self._table.reader(patient=True)
        try:
            self._begin(reader)
            while not self._cancelled.is_set():
                began = time.monotonic()
                self._copy(reader)
                self._cancelled.wait(max(_PAUSE_S, time.monotonic() - began))
        finally:
            for number in self._partitions:
                self._table.keep(number)
            metrics.STANDBY_LAG.clear()
            if self._cancelled.is_set():
                self._at_rest.set()
            reader.close()

    def _begin(self, reader: Reader) -> None:
        self._table.forget(self._partitions)
        starts = {number: self._table.trusted_start(number, reader.end(number)) for number in self._partitions}
        log.info("keeping copies of partitions %s", self._partitions)
        reader.begin(starts)
        self.next = starts

    def _copy(self, reader: Reader) -> None:
        found, ended = reader.read()
        for number, entries in found.items():
            self._table.restore(number, entries)
            self.next[number] = entries[-1].offset + 1
            self.rows += len(entries)
            metrics.STANDBY_ROWS.inc(len(entries))
        for number in self._partitions:
            lag = 0 if number in ended else max(0, reader.seen_end(number) - self.next[number])
            metrics.STANDBY_LAG.labels(str(number)).set(lag)
